"""`mpt-tool doctor`: what is right, what is wrong, and what to do."""

import ast
import re
import shutil
import socket
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, SCOPES, TABLE, USER, AirtableServer
from support.mpt_server import MPTServer
from support.pages import page
from support.project import COMMAND, LOCK_FILE, STATE_FILE, Project, Result, record
from support.terminal import Terminal

import mpt_tool
from mpt_tool.doctor.versions import NEWEST_TESTED

IN_CONTAINER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "STORAGE_EPHEMERAL": "false"}
# Not the one of the tests: where it is hidden, so is all that begins as it does.
KEY = "patOfTheTests.0123456789"
# Nobody without a name and without any right, in whose eyes root is somebody else.
AS_NOBODY = ["unshare", "--user", "--map-user=10001", "--map-group=10001"]


def checks(result: Result, name: str) -> list[tuple[str, str]]:
    """Return verdict and value of the checks of this name."""
    found = [each for each in result.json()["checks"] if each["name"] == name]
    return [(each["verdict"], each["value"]) for each in found]


def not_right(result: Result, *, of: str = "") -> dict[str, str]:
    """Return by name the verdicts of what is not right, of one subject or of all.

    Without that the tests themselves may run in a container.
    """
    return {
        each["name"]: each["verdict"]
        for each in result.json()["checks"]
        if each["verdict"] != "right" and of in ("", each["subject"]) and each["name"] != "mount"
    }


def advice(result: Result, name: str) -> str:
    [found] = [each["advice"] for each in result.json()["checks"] if each["name"] == name]
    return str(found)


def examine(project: Project, env: Mapping[str, str] | None = None) -> Result:
    """Return what it says as JSON; nothing is written meanwhile."""
    before = project.tree()
    result = project.run("doctor", "--json", env=env)
    assert project.tree() == before
    assert result.stderr == ""
    is_wrong = any(each["verdict"] == "wrong" for each in result.json()["checks"])
    assert result.exit_code == (1 if is_wrong else 0)
    return result


@pytest.fixture
def airtable(project: Project) -> Iterator[AirtableServer]:
    """An Airtable that `--init` has made ready for the project, which has a script."""
    project.script("first", above="raise AssertionError('imported')")
    with AirtableServer(KEY) as server:
        server.add_base(BASE)
        project.environment = server.settings
        assert project.run("migrate", "--init").exit_code == 0
        server.clear_requests()
        yield server


# --- settings


def test_each_setting_is_told_with_where_it_stands(project: Project) -> None:
    project.file("migrations/.keep", "")
    project.file(
        ".env", "STORAGE_TYPE=airtable\nMPT_TOOL_DATA_TIME_LIMIT=60\nMPT_API_TOKEN=a-b-c\n"
    )
    project.file("pyproject.toml", '[tool.mpt-tool]\nfolder = "migrations"\ndata-time-limit = 5\n')

    environment = {"MPT_TOOL_STORAGE_TYPE": "local", "STORAGE_TYPE": "local"}
    result = examine(project, {**environment, "STORAGE_EPHEMERAL": ""})

    settings = {
        each["name"]: each["value"]
        for each in result.json()["checks"]
        if each["subject"] == "settings"
    }
    assert settings == {
        "MPT_TOOL_FOLDER": "migrations (pyproject.toml: folder)",
        "STORAGE_TYPE": "local (environment: MPT_TOOL_STORAGE_TYPE;"
        " another in .env: STORAGE_TYPE is not used)",
        "STORAGE_EPHEMERAL": "False (default)",
        "SCHEMA_TIME_LIMIT": "900 (default)",
        "DATA_TIME_LIMIT": "60 (.env: MPT_TOOL_DATA_TIME_LIMIT;"
        " another in pyproject.toml: data-time-limit is not used)",
        "SERVICE_VERSION": "not set",
        "LOG_FORMAT": "text (default)",
        "MPT_TOOL_TELEMETRY": "not set",
        "SLOW_ITEM_SECONDS": "5 (default)",
        "BATCH_EXECUTOR": "not set",
        "NOTIFY_URLS": "not set",
        "NOTIFY_ON": "failed, stalled (default)",
        "NOTIFY_STALLED_SECONDS": "900 (default)",
        "NOTIFY_PING_URL": "not set",
        "MPT_API_TOKEN": "*** of 5 characters (.env: MPT_API_TOKEN)",
        "MPT_API_BASE_URL": "not set",
    }
    assert not_right(result, of="settings") == {"MPT_API_BASE_URL": "wrong"}
    assert checks(result, ".env") == [("right", "3 set")]
    assert checks(result, "pyproject.toml") == [("right", "2 set in [tool.mpt-tool]")]


@pytest.mark.parametrize(
    ("files", "env", "name", "value"),
    [
        ({".env": "STORAGE_TYPE: x"}, {}, ".env", ".env cannot be read: line 1 is not NAME=VALUE"),
        ({"pyproject.toml": "[tool"}, {}, "pyproject.toml", "pyproject.toml cannot be read: "),
        (
            {"pyproject.toml": "[tool.mpt-tool]\nfolders = 3"},
            {},
            "pyproject.toml",
            "pyproject.toml: folders in [tool.mpt-tool] is unknown",
        ),
        (
            {"pyproject.toml": '[tool.mpt-tool.mpt]\napi-token = "abcdefgh"'},
            {},
            "pyproject.toml",
            "pyproject.toml: api-token is a secret",
        ),
        ({}, {"DATA_TIME_LIMIT": "ten"}, "DATA_TIME_LIMIT", "ten (environment: DATA_TIME_LIMIT)"),
        ({}, {"STORAGE_TYPE": "postgres"}, "store", "STORAGE_TYPE (or MPT_TOOL_STORAGE_TYPE) is"),
        ({}, {"MPT_API_TOKEN": "a"}, "MPT_API_BASE_URL", "not set"),
        (
            {},
            {"MPT_API_TOKEN": "a", "MPT_API_BASE_URL": "api.example.com"},
            "MPT_API_BASE_URL",
            "api.example.com (environment: MPT_API_BASE_URL)",
        ),
        ({}, {"STORAGE_TYPE": "airtable"}, "STORAGE_AIRTABLE_BASE_ID", "not set"),
        ({}, {"MPT_TOOL_FOLDER": "elsewhere"}, "migrations", "Migration folder not found: elsew"),
    ],
    ids=str,
)
def test_what_other_commands_refuse_is_a_line_among_others(
    project: Project, files: dict[str, str], env: dict[str, str], name: str, value: str
) -> None:
    project.script("first")
    for each, text in files.items():
        project.file(each, text)

    result = examine(project, env)

    [(verdict, told)] = checks(result, name)
    assert verdict == "wrong"
    assert told.startswith(value)
    assert advice(result, name)
    assert checks(result, "python")[0][0] == "right"
    assert "abcdefgh" not in result.stdout


def test_what_a_file_may_set_that_is_refused_is_not_known(project: Project) -> None:
    project.script("first")
    project.file("pyproject.toml", "[tool.mpt-tool]\nfolders = 3")

    result = examine(project, {"STORAGE_TYPE": "local"})

    assert checks(result, "STORAGE_TYPE") == [("right", "local (environment: STORAGE_TYPE)")]
    assert not_right(result) == {
        "pyproject.toml": "wrong",
        "migrations": "doubtful",
        "other settings": "doubtful",
        "store": "doubtful",
    }
    assert "DATA_TIME_LIMIT" in checks(result, "other settings")[0][1]
    project.file(".env", "STORAGE_TYPE: airtable")
    assert not_right(examine(project))["platform"] == "doubtful"


@pytest.mark.parametrize(
    ("env", "name", "word"),
    [
        ({"SERVICE_VERSION": '"1.2"'}, "SERVICE_VERSION", "quotes"),
        ({"MPT_API_TOKEN": "Bearer abc-1"}, "MPT_API_TOKEN", "before the token"),
        ({"AIRTABLE_API_KEY": "pat..."}, "AIRTABLE_API_KEY", "example"),
        ({"STORAGE_AIRTABLE_BASE_ID": "app1"}, "STORAGE_AIRTABLE_BASE_ID", "STORAGE_TYPE=airtable"),
        ({"STORAGE_TYP": "airtable"}, "STORAGE_TYP", "STORAGE_TYPE is meant"),
        ({"storage_type": "airtable"}, "storage_type", "STORAGE_TYPE is meant"),
        ({"MPT_TOOL_STORAGE": "airtable"}, "MPT_TOOL_STORAGE", "MPT_TOOL_STORAGE_TYPE is meant"),
    ],
    ids=str,
)
def test_what_is_hardly_meant_so_is_doubtful(
    project: Project, env: dict[str, str], name: str, word: str
) -> None:
    project.script("first")
    store = {"STORAGE_TYPE": "airtable"} if name == "AIRTABLE_API_KEY" else {}

    result = examine(project, {**store, **env})

    assert not_right(result, of="settings")[name] == "doubtful"
    assert word in advice(result, name)


def test_a_variable_named_nearly_as_one_that_is_set_is_somebody_elses(project: Project) -> None:
    result = examine(project, {"STORAGE_TYPE": "local", "STORAGE_TYPES": "a,b"})

    assert checks(result, "STORAGE_TYPES") == []


# --- the local store, and the machine


def test_a_project_with_nothing_wrong_exits_with_0(
    airtable: AirtableServer, project: Project
) -> None:
    project.environment |= {"PYTHONUTF8": "1"}

    result = examine(project)

    assert (result.exit_code, not_right(result)) == (0, {})
    [keys] = {tuple(each) for each in result.json()["checks"]}
    assert keys == ("subject", "name", "verdict", "value", "advice")
    subjects = list(dict.fromkeys(each["subject"] for each in result.json()["checks"]))
    assert subjects == ["versions", "machine", "project", "settings", "store", "platform"]


def test_the_state_is_read(project: Project) -> None:
    project.script("first")
    before = examine(project)
    project.write_state(record("first"))
    after = examine(project)
    project.state_file.write_text("{")
    broken = examine(project)

    path = project.root / STATE_FILE
    assert checks(before, "state") == [("right", f"{path} is not there yet: nothing was applied")]
    assert checks(after, "state") == [("right", f"{path}, 1 record")]
    assert not_right(broken) == {"state": "wrong"}
    assert not (project.root / LOCK_FILE).exists()


@pytest.mark.parametrize(
    ("name", "text", "verdict"),
    [
        ("migrations/1_first.py", "class\n", "doubtful"),
        ("migrations/1_fir-st.py", "", "wrong"),
        ("migrations/other.py", "", "doubtful"),
    ],
)
def test_the_folder_of_the_migrations_is_looked_at(
    project: Project, name: str, text: str, verdict: str
) -> None:
    project.file(name, text)

    assert not_right(examine(project)) == {"migrations": verdict}


def test_of_a_malformed_name_it_says_to_rename_the_file(project: Project) -> None:
    project.file("migrations/1_fir-st.py", "")
    named = advice(examine(project), "migrations")
    project.file("migrations/1_first.py", "")
    (project.migrations / "1_fir-st.py").rename(project.migrations / "2_first.py")
    twice = advice(examine(project), "migrations")

    assert named == twice
    assert named.startswith("Rename the file; mpt-tool migrate --check")


def test_of_a_file_that_is_hardly_named_so_it_says_how_it_would_be(project: Project) -> None:
    project.file("migrations/add_users.py", "class Migration(DataBaseMigration): ...")

    told = checks(examine(project), "file")

    proper = "add_users.py is left alone: rename it to <digits>_add_users.py if it is a migration"
    assert told == [("doubtful", proper)]


@pytest.mark.parametrize(
    ("urls", "told"),
    [
        ("json://localhost", ("right", "1 address, not tried")),
        ("json://localhost, xml://localhost", ("right", "2 addresses, not tried")),
        ("json://localhost teems://a/b", ("wrong", "Apprise knows no such address: 2 of 2")),
        ("msteams://", ("wrong", "Apprise knows no such address: 1 of 1")),
        ("https", ("wrong", "Apprise knows no such address: 1 of 1")),
    ],
)
def test_an_address_of_notifications_is_one_that_apprise_knows(
    project: Project, urls: str, told: tuple[str, str]
) -> None:
    project.script("first")

    assert checks(examine(project, {"NOTIFY_URLS": urls}), "messages") == [told]
    assert checks(examine(project), "messages") == []


@pytest.mark.parametrize("url", ["hc-ping.com/abc", "https://", "ftp://example.com/a", "x y"])
def test_what_is_no_address_of_a_ping_is_wrong(project: Project, url: str) -> None:
    project.script("first")

    assert [*not_right(examine(project, {"NOTIFY_PING_URL": url}), of="settings")] == ["pings"]
    assert checks(examine(project, {"NOTIFY_PING_URL": "https://a.b/c"}), "pings") == []


def test_a_state_that_is_gone_with_its_container_is_wrong(project: Project) -> None:
    project.script("first")
    mounted = Path("/dev/shm") / f"doctor-{project.root.parent.name}"  # in memory
    mounted.mkdir()
    try:
        inside = examine(project, IN_CONTAINER)
        project.state_file.symlink_to(mounted / STATE_FILE)
        in_memory = examine(project, IN_CONTAINER)
        meant = examine(project, IN_CONTAINER | {"STORAGE_EPHEMERAL": "true"})
    finally:
        shutil.rmtree(mounted)

    assert checks(inside, "container") == [("right", "Kubernetes")]
    [(verdict, value)] = checks(inside, "mount")
    assert verdict == "wrong"
    assert "in the container itself" in value
    [(verdict, value)] = checks(in_memory, "mount")
    assert verdict == "wrong"
    assert "in memory" in value
    assert [verdict for verdict, _ in checks(meant, "mount")] == ["right"]


def mounted(project: Project, mount: str) -> Result:
    """Return what it says in a container in which something was mounted first."""
    # Out of the folder and in again: in it, what was there before would be seen.
    command = f"mount {mount} && cd / && cd {project.root} && exec {COMMAND} doctor --json"
    result = project.execute(["unshare", "--mount", "sh", "-c", command], IN_CONTAINER)
    if "unshare:" in result.stderr or "mount:" in result.stderr:
        pytest.skip("nothing can be mounted here")
    return result


def test_a_state_on_a_mount_outlasts_its_container(project: Project) -> None:
    project.script("first")
    project.file("volume/migrations/1_first.py", "")

    result = mounted(project, f"--bind volume {project.root}")

    [(verdict, value)] = checks(result, "mount")
    assert verdict == "right"
    assert value.startswith(str(project.root))


def test_a_state_file_that_is_a_mount_itself_cannot_be_replaced(project: Project) -> None:
    project.script("first")
    project.write_state()
    project.file("elsewhere.json", "{}")

    result = mounted(project, f"--bind elsewhere.json {project.state_file}")

    [(verdict, value)] = checks(result, "mount")
    assert verdict == "wrong"
    assert "is mounted as a single file" in value


def test_a_disk_that_is_nearly_full_is_doubtful(project: Project) -> None:
    project.script("first")
    (project.root / "small").mkdir()
    project.state_file.symlink_to(project.root / "small" / STATE_FILE)

    result = mounted(project, f"-t tmpfs -o size=64k none {project.root / 'small'}")

    assert not_right(result) == {"state folder": "doubtful"}


def test_a_link_that_leads_nowhere_is_told(project: Project) -> None:
    project.script("first")
    project.state_file.symlink_to("nowhere/state.json")

    result = examine(project)

    assert not_right(result) == {"state folder": "wrong"}
    assert "mend the link" in advice(result, "state folder")


def as_nobody(project: Project) -> Result:
    """Return what it says in a container, to a user without a name, a home and any right."""
    environment = {"HOME": "", "PATH": project.environment_of_run()["PATH"], **IN_CONTAINER}
    command = [*AS_NOBODY, "env", "-u", "HOME", COMMAND, "doctor", "--json"]
    result = project.execute(command, environment)
    if "unshare:" in result.stderr or "cannot open shared object" in result.stderr:
        pytest.skip("nobody else can be had here")
    return result


def test_a_user_without_name_and_home_and_a_read_only_folder_are_told(project: Project) -> None:
    project.script("first")
    project.file(LOCK_FILE, "").chmod(0o400)
    project.root.chmod(0o555)
    try:
        result = as_nobody(project)
    finally:
        project.root.chmod(0o755)

    assert (result.exit_code, result.stderr) == (1, "")
    assert not_right(result) == {"state folder": "wrong", LOCK_FILE: "wrong"}
    assert checks(result, "user") == [
        ("right", "10001, without a name; the history tells the number")
    ]
    assert checks(result, "home") == [("right", "none; none is needed")]
    assert checks(result, "code")[0][1].endswith("unless the state is kept there")


def test_a_working_folder_below_one_that_is_closed_is_one_message(project: Project) -> None:
    project.file("closed/open/file", "")
    shutil.chown(project.root / "closed", 10001)
    (project.root / "closed").chmod(0o700)
    command = ["sh", "-c", f"cd closed/open && exec {' '.join(AS_NOBODY)} {COMMAND} doctor"]

    result = project.execute(command)

    if "unshare:" in result.stderr:
        pytest.skip("nobody else can be had here")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error running doctor command: The working folder is in one")
    assert result.stderr.count("\n") == 2


def test_an_output_that_lacks_characters_is_doubtful(project: Project) -> None:
    project.script("first")

    result = project.run("doctor", "--json", env={"PYTHONIOENCODING": "ascii"})

    assert not_right(result) == {"output": "doubtful"}


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("pyairtable", "3.0.1", "wrong"),
        ("pyairtable", "99.1", "doubtful"),
        ("mpt-extension-sdk", "5.0", "doubtful"),
        ("mpt-extension-sdk", "6.8.1", "right"),
    ],
)
def test_a_version_is_held_against_those_that_were_tested(
    project: Project, name: str, version: str, verdict: str
) -> None:
    project.script("first")
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    project.file(f"installed/{name.replace('-', '_')}-{version}.dist-info/METADATA", text)

    result = examine(project, {"PYTHONPATH": str(project.root / "installed")})

    [(found, value)] = checks(result, name)
    assert found == verdict
    assert value.startswith(version)


# --- Airtable


def test_all_of_airtable_is_looked_at_and_nothing_written(
    airtable: AirtableServer, project: Project
) -> None:
    airtable.add_row(BASE, TABLE, {"migration_id": "first", "order_id": 1, "type": "data"})
    before = airtable.rows(BASE, TABLE)

    result = examine(project)

    told = [
        (each["name"], each["value"])
        for each in result.json()["checks"]
        if each["subject"] == "store"
    ]
    assert told == [
        ("store", "airtable"),
        ("key", f"that of user {USER}"),
        ("clock", "as that of Airtable"),
        ("base", BASE),
        ("table", f"{TABLE}, with all 8 columns"),
        ("table", f"{HISTORY_TABLE}, with all 21 columns"),
        ("data.records:read", "granted"),
        ("data.records:write", "granted"),
        ("schema.bases:read", "granted"),
        ("schema.bases:write", "granted"),
        ("state", "1 record"),
    ]
    assert airtable.rows(BASE, TABLE) == before
    assert len(airtable.requests()) == 6
    assert [request.status for request in airtable.requests("PATCH")] == [422]
    assert [request.status for request in airtable.requests("POST")] == [422]


@pytest.mark.parametrize(
    ("missing", "wrong"),
    [
        ("data.records:read", {"data.records:read": "wrong"}),
        ("data.records:write", {"data.records:write": "wrong"}),
        ("schema.bases:read", {"schema.bases:read": "doubtful", "tables": "doubtful"}),
        ("schema.bases:write", {"schema.bases:write": "doubtful"}),
    ],
)
@pytest.mark.parametrize("tells_scopes", [False, True], ids=["tried", "told"])
def test_a_scope_that_is_missing_is_named(
    project: Project, missing: str, wrong: dict[str, str], tells_scopes: bool
) -> None:
    project.script("first")
    with AirtableServer(KEY, tells_scopes=tells_scopes) as server:
        server.add_base(BASE)
        project.environment = server.settings
        project.run("migrate", "--init")
        server.scopes = SCOPES - {missing}

        result = examine(project)

    assert not_right(result) == wrong
    assert "create/tokens" in advice(result, missing)


def test_a_key_that_is_refused_ends_the_questions(
    airtable: AirtableServer, project: Project
) -> None:
    result = examine(project, {"AIRTABLE_API_KEY": "patOfAnother"})

    assert checks(result, "key") == [("wrong", "Airtable refuses it (401)")]
    assert len(airtable.requests()) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_base_that_is_not_there_is_wrong(project: Project, status: Any) -> None:
    project.script("first")
    with AirtableServer(KEY, unknown=status) as server:
        result = examine(project, server.settings)

    assert not_right(result) == {"base": "wrong"}
    assert f"({status})" in checks(result, "base")[0][1]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STORAGE_AIRTABLE_BASE_ID", "tblOfTheTests", "base"),
        ("AIRTABLE_API_KEY", "keyOfTheOldKind", "key"),
    ],
)
def test_what_cannot_be_a_base_or_a_key_is_wrong_before_anything_is_asked(
    airtable: AirtableServer, project: Project, name: str, value: str, told: str
) -> None:
    result = examine(project, {name: value})

    assert not_right(result) == {told: "wrong"}
    assert airtable.requests() == []
    assert "OldKind" not in result.stdout


def test_tables_that_are_not_there_yet_are_to_be_created(project: Project) -> None:
    project.script("first")
    with AirtableServer(KEY) as server:
        server.add_table(BASE, "Products", [{"name": "name", "type": "singleLineText"}])

        result = examine(project, server.settings)

    assert checks(result, "table") == [
        ("wrong", f"there is no {TABLE}, only: Products"),
        ("doubtful", f"there is no {HISTORY_TABLE}, so no history is kept"),
    ]
    assert not_right(result) == {
        "table": "doubtful",
        "data.records:read": "doubtful",
        "data.records:write": "doubtful",
    }


@pytest.mark.parametrize(
    ("removed", "added", "verdict", "value"),
    [
        ("order_id", None, "wrong", f"{TABLE} has no order_id"),
        ("version", None, "doubtful", f"{TABLE} has no version, so the version of the extension"),
        ("order_id", {"type": "singleLineText"}, "wrong", f"{TABLE}: order_id is singleLineText"),
        (
            "type",
            {"type": "singleSelect", "options": {"choices": [{"name": "data"}]}},
            "wrong",
            f"{TABLE}: type is singleSelect without schema",
        ),
        ("type", {"type": "singleLineText"}, "doubtful", f"{TABLE}: type is singleLineText"),
    ],
    ids=str,
)
def test_a_column_that_is_missing_or_of_another_type_is_told(
    airtable: AirtableServer,
    project: Project,
    removed: str,
    added: dict[str, Any] | None,
    verdict: str,
    value: str,
) -> None:
    airtable.remove_column(BASE, TABLE, removed)
    if added:
        airtable.add_column(BASE, TABLE, {"name": removed, **added})

    result = examine(project)

    [(found, told)] = checks(result, "column")
    assert (found, told[: len(value)]) == (verdict, value)
    assert not_right(result) == {"column": verdict}


def test_a_row_that_is_no_record_is_told(airtable: AirtableServer, project: Project) -> None:
    airtable.add_row(BASE, TABLE, {"migration_id": "first"})

    result = examine(project)

    assert not_right(result) == {"state": "wrong"}
    assert "is no record" in checks(result, "state")[0][1]


@pytest.mark.parametrize(("ahead", "verdict"), [(-20, "doubtful"), (3600, "wrong")])
def test_a_clock_that_is_off_is_told(project: Project, ahead: float, verdict: str) -> None:
    project.script("first")
    with AirtableServer(KEY, clock=lambda: time.time() - ahead) as server:
        server.add_base(BASE)
        project.environment = server.settings
        project.run("migrate", "--init")

        result = examine(project)

    assert not_right(result) == {"clock": verdict}
    assert ("ahead of" if ahead > 0 else "behind") in checks(result, "clock")[0][1]


@pytest.mark.parametrize(
    ("status", "verdict"), [(503, "doubtful"), (429, "doubtful"), (404, "wrong")]
)
def test_an_answer_that_is_none_is_told(
    airtable: AirtableServer, project: Project, status: int, verdict: str
) -> None:
    airtable.answer(status, "<html>", times=9)

    result = project.run("doctor", "--json")

    assert not_right(result) == {"answer": verdict}


@pytest.mark.parametrize("path", ["/tables", f"/{TABLE}"])
def test_an_airtable_that_is_out_of_time_lacks_no_scope(
    airtable: AirtableServer, project: Project, path: str
) -> None:
    airtable.answer(503, "", path=f"{path}$", times=9)

    assert not_right(project.run("doctor", "--json")) == {"answer": "doubtful"}


# --- the network


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no.such.host.invalid"])
def test_a_host_that_cannot_be_reached_is_told(project: Project, address: str) -> None:
    project.script("first")
    env = {
        "STORAGE_TYPE": "airtable",
        "AIRTABLE_API_KEY": "pat1",
        "STORAGE_AIRTABLE_BASE_ID": "app",
        "STORAGE_AIRTABLE_ENDPOINT_URL": address,
        "MPT_API_TOKEN": "a",
        "MPT_API_BASE_URL": address,
    }

    result = project.run("doctor", "--json", env=env)

    assert not_right(result) == {"answer": "wrong", "platform": "wrong"}
    assert "cannot be reached" in checks(result, "answer")[0][1]


def test_a_proxy_is_told_and_who_is_asked_through_it(
    airtable: AirtableServer, project: Project
) -> None:
    with MPTServer() as platform:
        env = {**platform.settings, "HTTP_PROXY": "http://127.0.0.1:9"}
        result = project.run("doctor", "--json", env=env)

    assert not_right(result) == {"answer": "wrong"}
    assert checks(result, "proxy")[0][1].startswith("HTTP_PROXY: Airtable is asked through it")


@pytest.mark.slow
def test_it_ends_within_seconds_though_nobody_answers(project: Project, deaf: str) -> None:
    project.script("first")
    env = {
        "STORAGE_TYPE": "airtable",
        "AIRTABLE_API_KEY": "pat1",
        "STORAGE_AIRTABLE_BASE_ID": "app",
        "STORAGE_AIRTABLE_ENDPOINT_URL": deaf,
        "MPT_API_TOKEN": "a",
        "MPT_API_BASE_URL": deaf,
    }

    result = project.run("doctor", "--json", env=env)

    assert not_right(result) == {"answer": "wrong", "platform": "wrong"}


# --- a store that a package brings


STORE = """
import time
from mpt_tool.checks import doubtful, right
from mpt_tool.testing.storage import MemoryRepository

class Odd(MemoryRepository):
{}

def open_odd(root):
    return Odd()
"""
TELLS = "def checks(self): yield doubtful('bucket', 'not seen', 'Open your eyes')"


@pytest.mark.parametrize(
    ("body", "name", "verdict", "value"),
    [
        (TELLS, "bucket", "doubtful", "not seen"),
        ("pass", "state", "right", "0 records"),
        ("def load(self): raise ValueError(1)", "examination", "wrong", "ValueError: 1"),
        pytest.param(
            "def checks(self): yield right('bucket', 'seen'); time.sleep(60)",
            *("answer", "wrong", "none within 12 s"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_store_of_a_package_may_tell_of_itself_whatever_becomes_of_that(
    project: Project, body: str, name: str, verdict: str, value: str
) -> None:
    project.script("first")
    information = "installed/odd-1.0.dist-info"
    project.file(f"{information}/METADATA", "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    project.file(f"{information}/entry_points.txt", "[mpt_tool.storage]\nodd = odd_store:open_odd")
    project.file("installed/odd_store.py", STORE.format(textwrap.indent(body, "    ")))
    env = {"STORAGE_TYPE": "odd", "PYTHONPATH": str(project.root / "installed")}

    result = project.run("doctor", "--json", env=env)

    assert checks(result, name) == [(verdict, value)]
    assert checks(result, "store") == [("right", "odd")]
    assert result.exit_code == (1 if verdict == "wrong" else 0)


# --- the platform


def test_the_platform_is_asked_for_no_item(project: Project) -> None:
    project.script("first")
    with MPTServer() as platform:
        platform.add("catalog/products", "PRD-1")

        result = examine(project, platform.settings)
        [request] = platform.requests()

    assert checks(result, "platform") == [
        ("right", f"{platform.url} takes the token, which sees 1 products")
    ]
    assert (request.method, request.query) == ("GET", {"limit": ["0"]})


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (401, "", "wrong"),
        (403, "", "doubtful"),
        (404, "", "wrong"),
        (500, "", "doubtful"),
        (200, "<html>", "wrong"),
        (200, {"data": []}, "wrong"),
    ],
)
def test_what_the_platform_refuses_is_told(
    project: Project, status: int, body: object, verdict: str
) -> None:
    project.script("first")
    with MPTServer() as platform:
        platform.answer(status, body)

        result = examine(project, platform.settings)

    assert not_right(result) == {"platform": verdict}


# --- what is written


def test_every_line_that_it_can_say_is_documented() -> None:
    package = Path(mpt_tool.__file__).parent
    said = {
        call.args[0].value
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("right", "doubtful", "wrong")
        and isinstance(call.args[0], ast.Constant)
    }
    said |= {"clock", "python", ".env", "pyproject.toml", *NEWEST_TESTED, *SCOPES}
    text = page("doctor").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)

    assert said - set(re.findall(r"`([^`]*)`", " ".join(first_cells))) == set()
    assert len(said) > 20


def test_people_read_a_line_a_check_and_what_is_not_right_at_the_end(project: Project) -> None:
    project.file("migrations/other.py", "")

    result = project.run("doctor", env={"DATA_TIME_LIMIT": "ten", "SERVICE_VERSION": "1\x1b[2K"})

    lines = result.stdout.splitlines()
    assert lines[0] == "Versions"
    assert "  wrong     DATA_TIME_LIMIT: ten (environment: DATA_TIME_LIMIT)" in lines
    assert r"  right     SERVICE_VERSION: 1\x1b[2K (environment: SERVICE_VERSION)" in lines
    assert any(line.startswith("            → Use a number") for line in lines)
    assert lines[-3].startswith("Wrong: DATA_TIME_LIMIT")
    assert lines[-1].endswith(" wrong.")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_every_line_fits_and_each_verdict_has_a_colour(
    project: Project, columns: int
) -> None:
    env = {"STORAGE_TYPE": "airtable", "STORAGE_TYPES": "x", "DATA_TIME_LIMIT": "t"}
    environment = project.environment_of_run(env)
    command = [COMMAND, "doctor"]

    with Terminal(command, project.root, environment, columns=columns) as terminal:
        assert terminal.wait() == 1

    assert max(map(len, terminal.written_lines)) <= columns
    beside = {"right": " root:", "doubtful": " store:", "wrong": " AIRTABLE_API_KEY:"}
    colours = [terminal.colour_of(verdict, beside=name) for verdict, name in beside.items()]
    assert colours == ["green", "brown", "red"]
