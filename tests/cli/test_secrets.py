"""Secrets are planted where an error could carry them, and looked for where one could show."""

import json
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, TABLE, AirtableServer
from support.process import Process
from support.project import COMMAND, HISTORY_FILE, Project, Result
from support.terminal import Gate, Terminal

pytestmark = pytest.mark.slow

IN_ENVIRONMENT = {
    "MPT_API_TOKEN": "idt:TKN-0001:ab/cd+ef",
    "AIRTABLE_API_KEY": "patABCDEF.0123456789",
    "SHOP_PASSWORD": "correct horse 'battery'",
    "SIGNING_KEY": "-----BEGIN-----\nMIIEvQIBADAN\n-----END-----",
    "DATABASE_URL": "postgres://shop:staple%2Fbattery@db.example.com/shop",
}
IN_ENV_FILE = {"PAYMENT_SECRET": "whsec_0123456789"}
PLANTED = [
    *("idt:TKN-0001:ab/cd+ef", "patABCDEF.0123456789", "correct horse 'battery'", "MIIEvQIBADAN"),
    *("staple%2Fbattery", "staple/battery", "whsec_0123456789"),
]
SPELLINGS = (str, quote, partial(quote, safe=""), quote_plus, json.dumps)
HIDDEN = {spell(secret).strip('"') for secret in PLANTED for spell in SPELLINGS}
HELPERS = """
    import logging
    import os
    import urllib.parse

    import requests
    from dotenv import dotenv_values

    SECRETS = {
        name: value
        for name, value in {**os.environ, **dotenv_values()}.items()
        if name.endswith(("TOKEN", "KEY", "PASSWORD", "SECRET", "DATABASE_URL"))
    }
    ALL = " ".join(SECRETS.values())
    """
CARELESS = {
    "a message": "raise RuntimeError(ALL)",
    "arguments": "raise RuntimeError(SECRETS, list(SECRETS.values()))",
    "a key": "{}[ALL]",
    "an exit": "raise SystemExit(ALL)",
    "a class": "raise type(SECRETS['PAYMENT_SECRET'], (Exception,), {})('named')",
    "locals": """
        token = SECRETS["MPT_API_TOKEN"]
        int(token)
        """,
    "a line of the source": "raise RuntimeError(len('whsec_0123456789'))",
    "a code that is run": "exec(compile('int([])', ALL, 'exec'))",
    "a chain": """
        try:
            try:
                raise KeyError(ALL)
            except KeyError:
                os.environ[f"MISSING {ALL}"]
        except KeyError as error:
            raise RuntimeError("cannot connect") from error
        """,
    "a group with notes": """
        error = ValueError("one")
        error.add_note(f"while it used {ALL}")
        raise ExceptionGroup(ALL, [error, OSError(1, "refused", ALL)])
        """,
    "a request": """
        query = urllib.parse.urlencode(SECRETS)
        bearer = {"Authorization": f"Bearer {SECRETS['MPT_API_TOKEN']}", "X-Key": ALL.split()[0]}
        reply = requests.get(f"{os.environ['SHOP_URL']}/v0?{query}", headers=bearer)
        logging.error("%s: %s", reply.url, reply.request.headers)
        reply.raise_for_status()
        """,
    "an address that cannot be reached": """
        requests.get(f"http://shop:{urllib.parse.quote(ALL)}@127.0.0.1:1/{urllib.parse.quote(ALL)}")
        """,
    "logs": """
        logging.info("%s", ALL)
        logging.info(ALL, stack_info=True)
        logging.debug(SECRETS)
        logging.warning("%(a)s", {"a": SECRETS})
        try:
            raise ValueError(ALL)
        except ValueError:
            logging.exception("what was raised")
        raise RuntimeError("enough")
        """,
}


@pytest.fixture
def careless(project: Project, server: AirtableServer) -> Project:
    """A project with secrets in its environment and its `.env`, and a service that refuses them."""
    lines = (f"{name}={value}" for name, value in IN_ENV_FILE.items())
    project.file(".env", "\n".join(lines))
    project.environment = {**IN_ENVIRONMENT, "SHOP_URL": server.url}
    return project


def shown(*texts: str) -> list[str]:
    """Return the secrets that are in the texts."""
    return [secret for secret in HIDDEN if any(secret in text for text in texts)]


def written(*results: Result) -> list[str]:
    """Return all that the commands wrote."""
    return [text for result in results for text in (result.stdout, result.stderr)]


@pytest.mark.parametrize("body", CARELESS.values(), ids=CARELESS)
def test_no_error_of_a_script_shows_a_secret_in_what_is_written_or_kept(
    careless: Project, body: str
) -> None:
    careless.script("first", above=HELPERS, body=body)

    result = careless.run("migrate", "--data", "--verbose")

    assert result.exit_code == 1
    assert "***" in result.stderr
    (attempt,) = careless.attempts()
    assert attempt["outcome"] == "failed"
    kept = (careless.state_file, careless.root / HISTORY_FILE)
    assert shown(*written(result), *(path.read_text() for path in kept)) == []


@pytest.mark.parametrize(
    "arguments",
    [["--data"], ["--data", "--dry-run", "--json"], ["--fake", "first"]],
    ids=" ".join,
)
def test_a_script_that_cannot_be_loaded_shows_no_secret(
    careless: Project, arguments: list[str]
) -> None:
    careless.file("migrations/1_first.py", "import os\nraise RuntimeError(*os.environ.values())")

    result = careless.run("migrate", *arguments, "--verbose")

    assert result.exit_code == 1
    assert "***" in result.stderr
    assert shown(*written(result)) == []


def test_a_terminal_shows_no_secret(careless: Project) -> None:
    careless.script("first", above=HELPERS, body=CARELESS["logs"])

    with Terminal(
        [COMMAND, "migrate", "--data", "--verbose"],
        careless.root,
        careless.environment_of_run(),
        columns=1000,
    ) as terminal:
        assert terminal.wait() == 1

    assert "***" in terminal.text
    assert shown(terminal.text, terminal.written.decode()) == []


@pytest.mark.parametrize("arguments", [["--data"], ["--list", "--json"], ["--init"]], ids=" ".join)
def test_a_store_that_repeats_the_key_in_its_error_gives_it_away_to_nobody(
    project: Project, server: AirtableServer, arguments: list[str]
) -> None:
    project.environment = server.settings
    project.script("first")
    error = {"type": "INVALID", "message": f"{server.token} may not, Bearer {server.token}"}
    server.answer(400, {"error": error}, times=9)

    result = project.run("migrate", *arguments, "--verbose")

    assert result.exit_code == 1
    assert "*** may not" in result.stderr
    assert server.token not in result.stdout + result.stderr


def test_airtable_keeps_no_secret(careless: Project, server: AirtableServer) -> None:
    careless.environment |= {**server.settings, "STORAGE_AIRTABLE_LEASE_SECONDS": "30"}
    careless.script("first", above=HELPERS, body=CARELESS["a group with notes"])
    careless.run("migrate", "--init")

    result = careless.run("migrate", "--data", "--verbose")

    assert result.exit_code == 1
    rows = [*server.rows(BASE, TABLE), *server.rows(BASE, HISTORY_TABLE)]
    assert len(rows) == 2
    assert shown(str(rows), *written(result)) == []
    assert server.token not in str(rows)


def test_a_secret_in_the_wrong_place_is_shown_and_kept_nowhere(careless: Project) -> None:
    secret = IN_ENVIRONMENT["AIRTABLE_API_KEY"]
    careless.script("first")
    env = {"SERVICE_VERSION": f"v-{secret}", "LOGNAME": secret}

    results = [
        careless.run("migrate", "--data", env=env),
        careless.run("migrate", "--list"),
        careless.run("history"),
        careless.run("history", secret),
        careless.run("migrate", "--fake", secret),
        careless.run("migrate", "--new-data", secret),
    ]

    assert careless.state()["first"]["version"] == "v-***"
    assert careless.attempts()[0]["user"] == "***"
    assert [shown(*written(each)) for each in results] == [[]] * len(results)
    assert shown((careless.root / HISTORY_FILE).read_text()) == []


def test_the_process_list_holds_no_secret(careless: Project, gate: Gate) -> None:
    processes = Path("/proc")
    if not (processes / "self/cmdline").exists():
        pytest.skip("this system has no /proc")
    careless.script("first", body=f"self.log.info('script runs')\n{gate.wait}")

    with Process(careless, "migrate", "--data", anew=True) as process:
        process.wait_for("script runs")
        command_lines = {}
        for path in processes.glob("[0-9]*/cmdline"):
            try:
                # Other tests at the same time may have secrets in theirs.
                if (path.parent / "cwd").readlink() == careless.root:
                    command_lines[path.parent.name] = path.read_bytes().decode(errors="replace")
            except OSError:  # it has ended
                continue
        gate.open()
        assert process.wait().exit_code == 0

    assert "migrate" in command_lines[str(process.pid)]
    assert shown(*command_lines.values()) == []
