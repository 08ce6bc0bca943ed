"""What holds for any input: names, state files, order, timestamps, sources, settings, secrets."""

import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.project import STATE_FILE, Project, record

from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import SettingsError, StorageError
from mpt_tool.project import open_project
from mpt_tool.records import MigrationRecord
from mpt_tool.redaction import make_redact
from mpt_tool.scripts import check, load, plan
from mpt_tool.scripts.folder import Script, find
from mpt_tool.scripts.syntax import Syntax, read_syntax
from mpt_tool.settings import Section, Settings, load_settings, variable_names
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.local import LocalRepository
from mpt_tool.storage.sql.settings import DatabaseSettings
from mpt_tool.view import tables

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(CHARACTERS)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=8,
)
# Those that stay within the range of dates in every time zone.
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))  # noqa: DTZ001 - zones are drawn apart
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
IDS = st.from_regex(r"[a-zA-Z_]\w{0,20}", fullmatch=True).filter(str.isidentifier)
ORDER_IDS = st.integers(0, 10**16)
TYPES = st.sampled_from(MigrationTypeEnum)


@contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder; Hypothesis draws many examples in one run of a test."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


# --- names


def is_file_name(name: str) -> bool:
    return name not in {"", ".", ".."} and not set(name) & set("/\0") and len(name.encode()) <= 255


FILE_NAMES = (
    TEXT
    | st.from_regex(r"[0-9]{1,20}_(\w|.){0,12}\.py", fullmatch=True, alphabet=CHARACTERS)
    | TEXT.map("1_{}.py".format)
).filter(is_file_name)


@given(st.sets(FILE_NAMES, max_size=6))
def test_any_names_are_found_listed_and_checked_in_order(names: set[str]) -> None:
    with folder() as root:
        for name in names:
            (root / name).touch()
        found = find(root)
        findings = check.check(found)
        entries = open_project(root).plan(found, LocalRepository(root).load())
        tables.entries_table(entries, ("started", "applied", "duration"), io.StringIO())

    assert [(s.order_id, s.migration_id) for s in found] == sorted(
        (s.order_id, s.migration_id) for s in found
    )
    assert {finding.file for finding in findings} == {script.path.name for script in found}
    assert [entry.migration_id for entry in entries] == [script.migration_id for script in found]


@given(ORDER_IDS, IDS)
def test_a_name_is_read_back_as_the_order_id_and_the_id_it_is_made_of(
    order_id: int, migration_id: str
) -> None:
    with folder() as root:
        path = root / f"{order_id}_{migration_id}.py"
        path.touch()

        (script,) = find(root)

    assert script == Script(order_id, migration_id, path)
    assert script.name_problem is None


# --- state files


def documents(migration_id: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return records as a state file may hold them, further keys among them."""
    timestamps = st.none() | st.builds(datetime.replace, MOMENTS, tzinfo=st.none() | ZONES).map(
        datetime.isoformat
    )
    known = st.builds(
        record,
        st.just(migration_id),
        order_id=ORDER_IDS,
        type=TYPES.map(str),
        started_at=timestamps,
        applied_at=timestamps,
    )
    unknown = st.dictionaries(TEXT, JSON_VALUES, max_size=3)
    return st.builds(lambda more, record: {**more, **record}, unknown, known).filter(
        lambda document: "version" not in document
    )


NEARLY_STATES = st.dictionaries(
    IDS,
    JSON_VALUES
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("migration_id", "order_id", "started_at", "applied_at", "type"),
            JSON_VALUES | st.sampled_from(["data", "2026-01-13", "a"]),
        ),
    ),
    max_size=2,
)


@given(
    st.binary(max_size=40)
    | (JSON_VALUES | NEARLY_STATES | IDS.flatmap(documents)).map(json.dumps).map(str.encode)
)
def test_any_state_file_is_loaded_or_refused_by_name_and_never_touched(content: bytes) -> None:
    with folder() as root:
        state_file = root / STATE_FILE
        state_file.write_bytes(content)
        try:
            LocalRepository(root).load()
        except StorageError as error:
            assert STATE_FILE in str(error)  # noqa: PT017 - either outcome is fine, any other error is not

        assert state_file.read_bytes() == content
        assert os.listdir(root) == [STATE_FILE]  # noqa: PTH208 - names are all that is asked for


@given(documents("one"), documents("other"))
def test_saving_a_record_keeps_its_further_keys_and_all_of_every_other(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    with folder() as root:
        state_file = root / STATE_FILE
        state_file.write_text(json.dumps({"other": other}), encoding="utf-8")
        saved = MigrationRecord.model_validate(one)
        LocalRepository(root).save(saved)

        assert LocalRepository(root).load().records["one"] == saved
        state = json.loads(state_file.read_bytes())
    assert json.dumps(state["other"]) == json.dumps(other)
    assert state["one"].keys() == one.keys()
    assert {**one, **state["one"]} == {**state["one"], **further_keys(one)}


def further_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a document holds beside the five columns."""
    return {key: value for key, value in document.items() if key not in record("any")}


# --- order


@given(
    st.lists(st.tuples(ORDER_IDS, IDS, TYPES, st.booleans()), max_size=12, unique_by=lambda m: m[1])
)
def test_what_is_pending_runs_in_order_whatever_the_state_holds(
    migrations: list[tuple[int, str, MigrationTypeEnum, bool]],
) -> None:
    found = [Script(order_id, id_, Path(id_)) for order_id, id_, _, _ in migrations]
    declared = {id_: Syntax(type_) for _, id_, type_, recorded in migrations if not recorded}
    records = {
        id_: MigrationRecord.new(id_, order_id, type_).fake(datetime.now(UTC), None)
        for order_id, id_, type_, recorded in migrations
        if recorded
    }

    entries = plan.build(found, records, declared, {}, {}, {}, {})

    assert [(e.order_id, e.migration_id) for e in entries] == sorted(m[:2] for m in migrations)
    for type_ in MigrationTypeEnum:
        pending = [entry.migration_id for entry in plan.pending(entries, type_)]
        assert pending == [
            id_ for _, id_, each, recorded in sorted(migrations) if each is type_ and not recorded
        ]


# --- timestamps


@given(MOMENTS, st.none() | ZONES)
def test_a_timestamp_is_kept_as_the_same_instant_in_utc(
    moment: datetime, zone: timezone | None
) -> None:
    text = moment.replace(tzinfo=zone).isoformat()

    kept = MigrationRecord.model_validate(record("any", started_at=text)).document()["started_at"]

    assert kept.endswith("+00:00")
    assert datetime.fromisoformat(kept) == moment.replace(tzinfo=zone or UTC)


# --- sources


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="replace"))
)
def test_any_source_is_inspected(source: bytes) -> None:
    with folder() as root:
        path = root / "1_any.py"
        path.write_bytes(source)

        inspection = read_syntax(path)

    assert inspection.type is None
    # A name that is assigned or imported may be anything.
    assert inspection.problem or b"Migration" in source


@pytest.mark.parametrize("size", [100, 1_000, 2_000, 10_000])
@pytest.mark.parametrize(
    ("start", "middle", "end"),
    [
        ("", "(", ""),
        ("if a: pass\n", "elif a: pass\n", "class Migration: pass"),
        ("class Migration(", "a.", "a): pass"),
        ("class Migration(", "a + ", "a): pass"),
    ],
    ids=["brackets", "branches", "attributes", "operators"],
)
def test_a_source_without_end_is_inspected(
    tmp_path: Path, start: str, middle: str, end: str, size: int
) -> None:
    path = tmp_path / "1_endless.py"
    path.write_text(start + middle * size + end, encoding="utf-8")

    assert read_syntax(path).type is None


@pytest.mark.parametrize(
    "source",
    ["class Migration(Migration): pass", "class A(Migration): pass\nclass Migration(A): pass"],
)
def test_a_class_that_derives_from_itself_is_inspected(tmp_path: Path, source: str) -> None:
    path = tmp_path / "1_circle.py"
    path.write_text(source, encoding="utf-8")

    assert read_syntax(path).type is None


IMPORTS = {
    "from mpt_tool.migration import {base}": "{base}",
    "from mpt_tool.migration import {base} as Base": "Base",
    "import mpt_tool.migration": "mpt_tool.migration.{base}",
    "from mpt_tool import migration as m": "m.{base}",
}
MIXINS = st.sampled_from([[], ["MPTAPIClientMixin"], ["AirtableAPIClientMixin", "Own"]])


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Return a script as authors write it: ways to import, mixins, bases of their own, branches."""
    base = draw(st.sampled_from(["DataBaseMigration", "SchemaBaseMigration"]))
    import_ = draw(st.sampled_from(sorted(IMPORTS)))
    parent = IMPORTS[import_].format(base=base)
    lines = [
        import_.format(base=base),
        "from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin",
        "class Own: pass",
    ]
    for level in range(draw(st.integers(0, 2))):
        lines.append(f"class Level{level}({parent}): pass")
        parent = f"Level{level}"
    bases = ", ".join([*draw(MIXINS), parent])
    body = [f"class Migration({bases}):", "    def run(self): pass"]
    match draw(st.sampled_from(["plain", "if", "try"])):
        case "if":
            body = ["if True:", *(f"    {line}" for line in body)]
        case "try":
            body = ["try:", *(f"    {line}" for line in body), "finally:", "    pass"]
    return "\n".join([*lines, *body])


@given(source=sources())
def test_the_type_in_the_source_is_that_of_the_loaded_migration(
    tmp_path_factory: pytest.TempPathFactory, source: str
) -> None:
    script = Script(1, "any", tmp_path_factory.getbasetemp() / "1_any.py")
    script.path.write_text(source, encoding="utf-8")

    assert read_syntax(script.path).type is load.load(script, script.path.parent).type


# --- settings


SECTIONS = (Settings, PlatformSettings, StoreSettings, DatabaseSettings)
VARIABLES = sorted(
    name
    for section in SECTIONS
    for field in section.model_fields
    for name in variable_names(section, field)
)


@given(
    st.sampled_from(SECTIONS),
    st.dictionaries(st.sampled_from(VARIABLES), TEXT | st.floats().map(str), max_size=5),
)
def test_any_environment_makes_settings_or_an_error_that_names_the_variable(
    section: type[Section], environment: dict[str, str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, folder() as root:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            load_settings(section, root)
        except SettingsError as error:
            assert any(name in str(error) for name in VARIABLES)  # noqa: PT017 - either outcome is fine


# --- secrets


# What hides a secret is no part of one.
SECRETS = st.text(st.characters(codec="ascii", exclude_characters="*"), min_size=6, max_size=20)
WORDS = st.text(st.characters(exclude_characters=":@*"), max_size=20)


@given(st.lists(SECRETS, min_size=1, max_size=3), st.lists(WORDS, min_size=1, max_size=4))
def test_no_secret_survives_in_a_text(secrets: list[str], words: list[str]) -> None:
    text = "".join(word + secret for word in words for secret in secrets)

    redacted = make_redact(secrets)(text)

    assert not [secret for secret in secrets if secret in redacted]


@given(st.lists(SECRETS, max_size=3), st.lists(WORDS, max_size=4))
def test_a_text_without_a_secret_stays_as_it_is(secrets: list[str], words: list[str]) -> None:
    text = " ".join(words)
    assume(not any(secret in text for secret in secrets))
    assume(not any(scheme in text.lower() for scheme in ("bearer", "basic", "token")))

    assert make_redact(secrets)(text) == text


# --- many at once


def test_scripts_made_at_once_have_a_timestamp_each_and_an_id_goes_to_exactly_one(
    project: Project,
) -> None:
    names = [*(f"own_{number}" for number in range(8)), *["same"] * 8]

    outcomes = at_once(project, [["migrate", "--new-data", name] for name in names])

    found = find(project.migrations)
    assert outcomes[:8] == [0] * 8
    assert sorted(outcomes[8:]) == [0] + [1] * 7
    assert sorted(script.migration_id for script in found) == sorted(set(names))
    assert len({script.order_id for script in found}) == len(found)


def at_once(project: Project, commands: Sequence[Sequence[str]]) -> list[int]:
    """Run the commands side by side and return their exit codes."""
    with Path(os.devnull).open("wb") as nowhere:
        processes = [project.start(command, nowhere, nowhere) for command in commands]
        return [process.wait(timeout=60) for process in processes]
