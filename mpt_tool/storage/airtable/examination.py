"""What is right and what is wrong with the key, its scopes, the base and the two tables.

Airtable tells the scopes of a token of OAuth alone. What another key may do is tried: with a list
of no records, and with a table that has no name. Neither could write anything. It is answered 403
if a scope is missing, and 422 otherwise: https://airtable.com/developers/web/api/errors.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyairtable import Table
from requests import Response

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.clients.airtable import open_api
from mpt_tool.clients.clock import clock_check
from mpt_tool.enums import VerdictEnum
from mpt_tool.errors import StorageError
from mpt_tool.settings import variables
from mpt_tool.storage.airtable.errors import explaining_errors
from mpt_tool.storage.airtable.history import COLUMNS as HISTORY_COLUMNS
from mpt_tool.storage.airtable.schema import COLUMNS, OPTIONAL_COLUMNS
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.repository import Snapshot
from mpt_tool.wording import so_many

# Seconds to connect, and to be answered; and for how long a request may wait for its turn.
_TIME_OUT = (3.0, 5.0)
# Too short for a second attempt.
_PATIENCE_SECONDS = 0.95
_READ, _WRITE = "data.records:read", "data.records:write"
_READ_SCHEMA, _WRITE_SCHEMA = "schema.bases:read", "schema.bases:write"
_INITIALIZE = "mpt-tool migrate --init"
_ADD_SCOPE = "Add the scope at https://airtable.com/create/tokens"
# They hold what any column holds but a number.
_TEXTS = ("singleLineText", "multilineText")
# What a run goes without where an optional column is missing.
_WITHOUT = {
    "version": "the version of the extension is not recorded",
    "checkpoint": "a batch migration that was interrupted begins anew",
    "targets": "a migration with targets is not recorded target by target",
}


class _BusyError(Exception):
    """Airtable has no time: the status says how."""


type _Document = Mapping[str, Any]


def checks_of_base(settings: StoreSettings, load: Callable[[], Snapshot]) -> Iterator[Check]:
    """Yield what is right and what is wrong with the base that the settings name.

    Args:
        settings: the base and its tables.
        load: returns what the table of the state holds.
    """
    if malformed := list(_form(settings)):
        yield from malformed
        return
    in_haste = settings.model_copy(update={"retry_seconds": _PATIENCE_SECONDS})
    table = open_api(in_haste, time_out=_TIME_OUT).table(settings.base_id, settings.table_name)
    try:
        yield from _answers(settings, table, load)
    except _BusyError as error:
        yield doubtful("answer", f"Airtable has no time ({error})", "Try again in a minute")
    except StorageError as error:
        yield wrong("answer", str(error), "Nothing further was asked of Airtable")


def _form(settings: StoreSettings) -> Iterator[Check]:
    """Yield what cannot be right, whatever Airtable says."""
    if settings.api_key.get_secret_value().startswith("key"):
        setting = variables(StoreSettings, "api_key")
        advice = f"Create a personal access token, and set {setting} to it"
        yield wrong("key", "an API key, which Airtable takes no longer", advice)
    if not settings.base_id.startswith("app"):
        setting = variables(StoreSettings, "base_id")
        advice = f"Set {setting} to the part of the base's address that begins with app"
        yield wrong("base", f"{settings.base_id} is no id of a base", advice)


def _answers(
    settings: StoreSettings, table: Table, load: Callable[[], Snapshot]
) -> Iterator[Check]:
    """Yield what Airtable's answers tell; `StorageError` if there is none."""
    identity = _ask(table, "GET", f"{table.api.endpoint_url}/v0/meta/whoami")
    if identity.status_code != 200:
        yield _stranger(identity)
        return
    whose = _json(table, identity)
    yield right("key", f"that of user {whose.get('id')}")
    yield clock_check(identity.headers.get("Date", ""), "Airtable")
    listed = _ask(table, "GET", str(table.base.urls.tables))
    rows = _ask(table, "GET", f"{table.urls.records}?pageSize=1")
    if 200 not in (listed.status_code, rows.status_code):
        yield _unseen(settings, rows.status_code)
        return
    yield right("base", settings.base_id)
    tables = _json(table, listed)["tables"] if listed.status_code == 200 else None
    shape = [*_tables(settings, tables)]
    yield from shape
    is_there = rows.status_code == 200 or _find(tables or (), table.name) is not None
    yield from _scopes(table, whose.get("scopes"), rows, listed, is_there=is_there)
    if rows.status_code == 200 and all(each.verdict is not VerdictEnum.WRONG for each in shape):
        yield from _state(load)


def _stranger(identity: Response) -> Check:
    """Return why Airtable does not say whose the key is."""
    status = identity.status_code
    if status == 401:
        setting = variables(StoreSettings, "api_key")
        advice = f"Set {setting} anew: the key may be cut, expired or revoked"
        return wrong("key", "Airtable refuses it (401)", advice)
    setting = variables(StoreSettings, "endpoint_url")
    advice = f"Check {setting}, and what a proxy answers"
    return wrong("answer", f"it is not Airtable's: {status} {identity.reason}", advice)


def _unseen(settings: StoreSettings, status: int) -> Check:
    """Return why nothing of the base can be seen."""
    setting, value = variables(StoreSettings, "base_id"), f"Airtable shows nothing of it ({status})"
    advice = (
        f"Check {setting}; and whether the key has access to this base, and the scopes {_READ} and"
        f" {_WRITE}: https://airtable.com/create/tokens; or create the table: {_INITIALIZE}"
    )
    return wrong("base", f"{settings.base_id}: {value}", advice)


def _tables(settings: StoreSettings, tables: list[_Document] | None) -> Iterator[Check]:
    """Yield what is to be thought of both tables, if they could be listed."""
    state, history = settings.table_name, settings.history_table_name
    if tables is None:
        advice = f"To have the columns looked at, add the scope {_READ_SCHEMA} to the key"
        yield doubtful("tables", "their columns could not be seen", advice)
        return
    if found := _find(tables, state):
        yield from _columns(found, COLUMNS)
    else:
        names = ", ".join(each["name"] for each in tables) or "none"
        advice = f"Create it: {_INITIALIZE}; or correct {variables(StoreSettings, 'table_name')}"
        yield wrong("table", f"there is no {state}, only: {names}", advice)
    if found := _find(tables, history):
        yield from _columns(found, HISTORY_COLUMNS)
    else:
        advice = f"Create it, if you want a history: {_INITIALIZE}"
        yield doubtful("table", f"there is no {history}, so no history is kept", advice)


def _columns(table: _Document, columns: Mapping[str, _Document]) -> Iterator[Check]:
    """Yield what is to be thought of each column that is not as it should be, or of all."""
    name, present = table["name"], {each["name"]: each for each in table["fields"]}
    is_of_state = columns is COLUMNS
    problems = [
        _missing(name, column, is_of_state=is_of_state)
        if column not in present
        else _of_type(name, present[column], wanted, is_of_state=is_of_state)
        for column, wanted in columns.items()
        if column not in present or not _is_as_wanted(present[column], wanted)
    ]
    yield from problems or [right("table", f"{name}, with all {len(columns)} columns")]


def _missing(table: str, column: str, *, is_of_state: bool) -> Check:
    """Return what is to be thought of a column that a table lacks."""
    value = f"{table} has no {column}"
    if is_of_state and column not in OPTIONAL_COLUMNS:
        return wrong("column", value, f"Add it: {_INITIALIZE}")
    loss = _WITHOUT[column] if is_of_state else "attempts are not kept"
    return doubtful("column", f"{value}, so {loss}", f"Add it: {_INITIALIZE}")


def _of_type(table: str, found: _Document, wanted: _Document, *, is_of_state: bool) -> Check:
    """Return what is to be thought of a column that has another type, or lacks choices."""
    value = f"{table}: {found['name']} is {found['type']}"
    if lacking := _lacking(found, wanted):
        value += f" without {' and '.join(lacking)}"
    advice = f"Make it {wanted['type']}{' with ' if lacking else ''}{' and '.join(lacking)}"
    if found["type"] in _TEXTS and wanted["type"] != "number":
        return doubtful("column", value, f"{advice} in Airtable: a run may do with it, not --init")
    if not is_of_state:
        return doubtful("column", f"{value}, so attempts are not kept", f"{advice} in Airtable")
    return wrong("column", value, f"{advice} in Airtable")


def _is_as_wanted(found: _Document, wanted: _Document) -> bool:
    return found["type"] == wanted["type"] and not _lacking(found, wanted)


def _lacking(found: _Document, wanted: _Document) -> list[str]:
    """Return what cannot be chosen of what has to be."""
    wished, present = (
        [each["name"] for each in column.get("options", {}).get("choices", ())]
        for column in (wanted, found)
    )
    return [each for each in wished if found["type"] == wanted["type"] and each not in present]


def _scopes(
    table: Table, told: list[str] | None, rows: Response, listed: Response, *, is_there: bool
) -> Iterator[Check]:
    """Yield what the key may do: as Airtable tells, else as it answers."""
    if told is not None:
        for scope in (_READ, _WRITE, _READ_SCHEMA, _WRITE_SCHEMA):
            yield _scope(scope, has=scope in told)
        return
    if is_there:
        yield _tried(_READ, rows)
        yield _tried(_WRITE, _ask(table, "PATCH", str(table.urls.records), {"records": []}))
    else:
        for scope in (_READ, _WRITE):
            advice = f"{_INITIALIZE}, then look again"
            yield doubtful(scope, "not tried: there is no table to try it on", advice)
    yield _tried(_READ_SCHEMA, listed)
    yield _tried(_WRITE_SCHEMA, _ask(table, "POST", str(table.base.urls.tables), {}))


def _tried(scope: str, reply: Response) -> Check:
    """Return whether the key has a scope, as the reply to a request that needs it tells."""
    return _scope(scope, has=reply.status_code not in (403, 404))


def _scope(scope: str, *, has: bool) -> Check:
    if has:
        return right(scope, "granted")
    if scope in (_READ, _WRITE):
        role = "; or the user may only read the base: make it an editor" * (scope == _WRITE)
        return wrong(scope, "missing", f"{_ADD_SCOPE}{role}")
    return doubtful(scope, "missing: only --init needs it", f"{_ADD_SCOPE}, before --init")


def _state(load: Callable[[], Snapshot]) -> Iterator[Check]:
    """Yield whether all rows can be read as records."""
    try:
        snapshot = load()
    except StorageError as error:
        yield wrong("state", str(error), "Until then every command refuses the table")
        return
    count = len(snapshot.records)
    yield right("state", so_many(count, "record"))
    for migration_id, note in snapshot.notes.items():
        yield doubtful("state", f"{migration_id}: {note}", "Delete the rows that are wrong")


def _find(tables: list[_Document] | tuple[()], name: str) -> _Document | None:
    return next((each for each in tables if name in (each["name"], each["id"])), None)


def _ask(table: Table, method: str, url: str, body: object = None) -> Response:
    """Return what Airtable answers, granted or not.

    Raises:
        StorageError: nothing comes.
        _BusyError: it has no time.
    """
    with explaining_errors(table):
        reply = table.api.session.request(method, url, json=body)
    if reply.status_code == 429 or reply.status_code >= 500:
        raise _BusyError(reply.status_code)
    return reply


def _json(table: Table, reply: Response) -> dict[str, Any]:
    """Return the object that a reply holds; `StorageError` if it is none of Airtable's."""
    with explaining_errors(table):
        document: dict[str, Any] = reply.json()
        return dict(document)
