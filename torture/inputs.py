"""Projects with something broken in them, as Hypothesis draws them: one strategy for each thing."""

import json
import os
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from support.project import FIRST_ORDER_ID, HISTORY_FILE, STATE_FILE, record

from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.settings import (
    ENV_FILE,
    PROJECT_FILE,
    PROJECT_TABLE,
    Settings,
    is_secret,
    variable_names,
)
from mpt_tool.storage.airtable.settings import StoreSettings

type Content = bytes | None
"""Of a file; None for a folder in its place."""


@dataclass(frozen=True, slots=True)
class Input:
    """What is broken in a project: some of its files, by path, or the variables of a run in it."""

    files: Mapping[str, Content]
    environment: Mapping[str, str] = field(default_factory=dict)


_SCRIPT = b"""\
from mpt_tool.migration import DataBaseMigration


class Migration(DataBaseMigration):
    def run(self):
        pass
"""
_MOMENT = "2026-01-01T12:00:00+00:00"
_APPLIED = record("first", started_at=_MOMENT, applied_at=_MOMENT)
_ERROR = {"kind": "ValueError", "message": "no", "frames": ["1_first.py:1 in run: no"]}
_ATTEMPT = {
    "run_id": "a1",
    "user": "somebody",
    "host": "somewhere",
    "process": 1,
    "tool_version": "7.0.0",
    "migration_id": "first",
    "order_id": FIRST_ORDER_ID,
    "type": "data",
    "outcome": "failed",
    "started_at": _MOMENT,
    "ended_at": _MOMENT,
    "seconds": 1.5,
    "checksum": "0123456789abcdef",
    "counts": {"done": 1},
    "error": _ERROR,
}
_STATE = json.dumps({"first": _APPLIED}, indent=2).encode()
_HISTORY = json.dumps(_ATTEMPT).encode() + b"\n"
_ENV = b"SERVICE_VERSION=1.0\nSTORAGE_TYPE='local'\n"
_PYPROJECT = b'[tool.mpt-tool]\nfolder = "migrations"\nschema-time-limit = 900\n'
SOUND: Mapping[str, Content] = {
    f"migrations/{FIRST_ORDER_ID}_first.py": _SCRIPT,
    f"migrations/{FIRST_ORDER_ID + 1}_second.py": _SCRIPT,
    STATE_FILE: _STATE,
    HISTORY_FILE: _HISTORY,
}

_SECTIONS = (Settings, PlatformSettings, StoreSettings)
_VARIABLES = sorted(
    name
    for section in _SECTIONS
    for field in section.model_fields
    for name in variable_names(section, field)
)
# The one that wins: no input is to send a request to a network.
ADDRESS = "MPT_TOOL_STORAGE_AIRTABLE_ENDPOINT_URL"
# What the libraries look at that write to a terminal.
_VARIABLES_OF_TERMINALS = ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM", "TTY_COMPATIBLE")

# With halves of surrogate pairs: JSON can hold them, and names that are not UTF-8 become such.
_TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
_SPECIAL_TEXT = st.sampled_from(
    ["", " ", "\0", "\n", "²", "nan", "-inf", "1e999", "airtable", "9" * 5000, "a" * 5000, "../.."]
)
_NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, -1, 1e300])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT | _SPECIAL_TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(_TEXT, values, max_size=3),
    max_leaves=5,
)
_DEEP = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900])


@st.composite
def _mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the content with some of its parts cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        part = content[start:end]
        middle = draw(st.sampled_from([b"", part + part, b"\0", b"\xff", b'"']) | st.binary())
        content = content[:start] + middle + content[end:]
    return content


@st.composite
def _changed(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with other values, without some, or with some more."""
    changed = dict(document)
    for key in draw(st.lists(st.sampled_from(sorted(document)) | _TEXT, min_size=1, max_size=3)):
        if draw(st.booleans()):
            changed[key] = draw(_VALUES | st.sampled_from([_MOMENT, "9999-12-31T23:59:59-23:00"]))
        else:
            changed.pop(key, None)
    return changed


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _in_place_of(name: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Input]:
    """Return sound projects but for one file: its content, or that it is a folder."""
    return (contents | st.none()).map(lambda content: Input({name: content}))


_KEYS = st.just("first") | _TEXT
STATE_FILES = _in_place_of(
    STATE_FILE,
    _mutated(_STATE)
    | st.dictionaries(_KEYS, _changed(_APPLIED) | _VALUES, max_size=3).map(_json)
    | _VALUES.map(_json)
    | st.binary()
    | _DEEP,
)

HISTORY_FILES = _in_place_of(
    HISTORY_FILE,
    _mutated(_HISTORY)
    | st.lists(_changed(_ATTEMPT).map(_json), max_size=4).map(b"\n".join)
    | _changed(_ERROR).map(lambda error: _json({**_ATTEMPT, "error": error}))
    | st.lists(_VALUES.map(_json), max_size=4).map(b"\n".join)
    | st.binary()
    | _DEEP,
)


def _is_file_name(name: bytes) -> bool:
    return name not in {b"", b".", b".."} and not set(name) & set(b"/\0") and len(name) <= 255


_FILE_NAMES = (
    (
        st.binary()
        | _TEXT.map("1_{}.py".format).map(lambda name: name.encode(errors="surrogatepass"))
        | st.binary().map(lambda name: b"1_" + name + b".py")
        | st.from_regex(rb"\A[0-9]{0,30}_?[a-z_0-9. ]{0,140}\.pyc?\Z")
    )
    .filter(_is_file_name)
    .map(os.fsdecode)
)
_SOURCES = (
    st.sampled_from([_SCRIPT, b"", b"Migration = 1", b"raise ValueError", b"class Migration: pass"])
    | _mutated(_SCRIPT)
    | st.none()
)
SCRIPTS = st.dictionaries(_FILE_NAMES, _SOURCES, max_size=5).map(
    lambda scripts: Input({f"migrations/{name}": source for name, source in scripts.items()})
)

# Text that holds no NUL and need not be UTF-8, as the system keeps variables.
_VARIABLE_VALUES = (
    st.binary(max_size=20).filter(lambda value: b"\0" not in value).map(os.fsdecode)
    | st.floats().map(str)
    | _SPECIAL_TEXT.filter(lambda value: "\0" not in value)
)
# None of them leads to a network.
_NO_ADDRESSES = st.sampled_from(["ftp://a", "localhost", "http://", "http://[", "//", "\udcff"])


def environments(airtable: Mapping[str, str]) -> st.SearchStrategy[Input]:
    """Return sound projects with broken variables.

    Args:
        airtable: the variables of a project with its state on Airtable, in which few of the inputs
            break some: its client sends no more than five requests a second.
    """
    names = {*_VARIABLES, *_VARIABLES_OF_TERMINALS} - {ADDRESS}
    broken = st.dictionaries(st.sampled_from(sorted(names)), _VARIABLE_VALUES, max_size=4)
    address = st.fixed_dictionaries({}, optional={ADDRESS: _NO_ADDRESSES})
    store = st.sampled_from([airtable, *[{}] * 24])
    return st.builds(lambda *parts: Input({}, dict(ChainMap(*parts))), address, broken, store)


_ASSIGNMENTS = st.builds(
    lambda name, value: name.encode() + b"=" + value,
    st.sampled_from(_VARIABLES),
    st.binary(max_size=20) | _TEXT.map(lambda text: text.encode(errors="replace")),
)
ENV_FILES = _in_place_of(
    ENV_FILE,
    _mutated(_ENV)
    | st.lists(_ASSIGNMENTS, max_size=5).map(b"\n".join)
    | st.sampled_from(
        [b"A=${A}\nSERVICE_VERSION=${A}", b"\xef\xbb\xbfA=1", b"MPT_TOOL_FOLDER=a\0b"]
    )
    | st.binary(),
)

# Much of JSON is TOML, too.
_TOML_VALUES = (
    st.booleans() | st.integers() | st.lists(st.integers(), max_size=2) | _SPECIAL_TEXT
).map(_json) | st.sampled_from(
    [b"1979-05-27", b"{a = 1}", b"inf", b"-nan", b"1e999", b"[" * 2000, b"'\"'"]
)
_FIELDS = [(section, field) for section in _SECTIONS for field in section.model_fields]
_SECRETS = sorted(field for section, field in _FIELDS if is_secret(section, field))
_TOML_KEYS = st.sampled_from(sorted({field for _, field in _FIELDS} - {*_SECRETS}))
_ODD_TOML_KEYS = st.sampled_from([*_SECRETS, "tool", "a.b", '""', "schema-time-limit"])
_NAMED_TABLES = [f"[{PROJECT_TABLE}]", f"[{PROJECT_TABLE}.airtable]", f"[{PROJECT_TABLE}.other]"]
_TOML_TABLES = st.sampled_from([*_NAMED_TABLES, f"[[{PROJECT_TABLE}]]", "[tool]", ""])


def _toml(table: str, values: Mapping[str, bytes]) -> bytes:
    members = (key.encode() + b" = " + value for key, value in values.items())
    return b"\n".join([table.encode(), *members])


PROJECT_FILES = _in_place_of(
    PROJECT_FILE,
    _mutated(_PYPROJECT)
    | st.builds(
        _toml, st.sampled_from(_NAMED_TABLES), st.dictionaries(_TOML_KEYS, _TOML_VALUES, max_size=2)
    )
    | st.builds(
        _toml, _TOML_TABLES, st.dictionaries(_TOML_KEYS | _ODD_TOML_KEYS, _TOML_VALUES, max_size=3)
    )
    | st.binary(),
)
