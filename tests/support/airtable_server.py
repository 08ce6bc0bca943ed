"""The Airtable Web API in memory, as https://airtable.com/developers/web/api documents it.

Served are records (list, create, update, upsert, delete), the schema (list, create table, create
field), whose the token is, its scopes, the rate limit and the error bodies. A request that uses
more is refused with 422.
"""

import math
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .airtable_tables import Cell, Record, Row, Table, add_column, invalid_request, new_id, refusal
from .http_server import ApiError, LoopbackServer, Reply, Request

PAGE_SIZE = 100
BATCH_SIZE = 10
MERGE_FIELDS = 3
_IN_UTC = {
    "timeZone": "utc",
    "dateFormat": {"name": "iso"},
    "timeFormat": {"name": "24hour"},
}
# Where the tests keep state.
BASE = "appStateOfTheTests"
TABLE = "Migrations"
HISTORY_TABLE = "Migrations History"
STATE_COLUMNS: Sequence[Mapping[str, Any]] = (
    {"name": "migration_id", "type": "singleLineText"},
    {"name": "order_id", "type": "number", "options": {"precision": 0}},
    {"name": "started_at", "type": "dateTime", "options": _IN_UTC},
    {"name": "applied_at", "type": "dateTime", "options": _IN_UTC},
    {
        "name": "type",
        "type": "singleSelect",
        "options": {"choices": [{"name": "data"}, {"name": "schema"}]},
    },
)
_LIST_OPTIONS = {
    *("pageSize", "maxRecords", "offset", "fields", "returnFieldsByFieldId", "filterByFormula"),
    "sort",
}
SCOPES = frozenset(
    {"data.records:read", "data.records:write", "schema.bases:read", "schema.bases:write"}
)
USER = "usrOfTheTests0001"
# The formulas that are understood here.
_CONDITION = r"(RECORD_ID\(\) = \"[\w-]+\"|\{[^}]+\}!?='[^']*'|\{[^}]+\}=\d+)"
_ALL = rf"(AND\({_CONDITION}(, {_CONDITION})*\)|{_CONDITION})"
_IS_ONE_OF = re.compile(rf"OR\({_ALL}(, {_ALL})*\)|{_ALL}")
_COMPARED = re.compile(
    r"""(?:RECORD_ID\(\)|\{(?P<column>[^}]+)\}) ?(?P<sign>!?=) ?["']?(?P<value>[^"',)]*)"""
)
_BEGINS_WITH = re.compile(r'LEFT\(\{(?P<column>[^}]+)\}, *(?P<length>\d+)\) *= *"(?P<text>[^"]*)"')


@dataclass(frozen=True)
class RateLimit:
    """How many requests a base takes in one second, and what happens beyond that.

    Args:
        requests: how many succeed within a second.
        lockout: for how many seconds the base then refuses all.
        retry_after: whether a refusal says when to come back.
    """

    requests: int = 5
    lockout: float = 30.0
    retry_after: bool = False


class AirtableServer(LoopbackServer):
    """Behaves as api.airtable.com for one token; bases and tables are added with `add_table`.

    Args:
        token: the only token that is let in.
        rate_limit: the limit on requests to each base; None for no limit. May be set later.
        unknown: the status for a base or table that is not there: 403 as if the token might not
            see it, or 404.
        scopes: what the token may do. May be set later.
        tells_scopes: whether the token is one of OAuth, whose scopes are told.
        clock: returns the seconds since the epoch, for `createdTime` and the rate limit.
    """

    def __init__(
        self,
        token: str = "airtable-token",
        *,
        rate_limit: RateLimit | None = None,
        unknown: Literal[403, 404] = 403,
        scopes: Collection[str] = SCOPES,
        tells_scopes: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(token, clock)
        self.rate_limit = rate_limit
        self.scopes = scopes
        self._tells_scopes = tells_scopes
        self._unknown = unknown
        self._bases: dict[str, list[Table]] = {}
        self._accepted: defaultdict[str, deque[float]] = defaultdict(deque)
        self._locked_until: defaultdict[str, float] = defaultdict(float)

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a project whose state is here; without a rate limit it hurries."""
        pace = {} if self.rate_limit else {"STORAGE_AIRTABLE_REQUESTS_PER_SECOND": "50"}
        return {
            **pace,
            "STORAGE_TYPE": "airtable",
            "AIRTABLE_API_KEY": self.token,
            "STORAGE_AIRTABLE_BASE_ID": BASE,
            "STORAGE_AIRTABLE_ENDPOINT_URL": self.url,
        }

    def lock_requests(self) -> list[Request]:
        """Return the requests so far that write, read, renew or delete claims of the lock."""
        return [request for request in self.requests() if _is_about_lock(request)]

    def record_requests(self) -> list[Request]:
        """Return the requests so far to the table of the state, without those about the lock."""
        asked = self.requests(path=f"/{TABLE}(/|$)")
        return [request for request in asked if not _is_about_lock(request)]

    def claims(self) -> list[Record]:
        """Return the rows that claim the lock."""
        return [row for row in self.rows(BASE, TABLE) if _is_claim(row["fields"])]

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the cells of all other rows by migration id, of which each has just one."""
        rows = [dict(row["fields"]) for row in self.rows(BASE, TABLE)]
        rows = [fields for fields in rows if not _is_claim(fields)]
        by_id = {str(fields["migration_id"]): fields for fields in rows}
        assert len(by_id) == len(rows)
        return by_id

    def add_base(self, base: str) -> None:
        """Add a base without tables, unless it is there."""
        with self._lock:
            self._bases.setdefault(base, [])

    def add_table(
        self, base: str, name: str, columns: Iterable[Mapping[str, Any]] = STATE_COLUMNS
    ) -> str:
        """Add an empty table, and its base if need be, and return the table's id.

        Args:
            base: the id of the base.
            name: the name of the table.
            columns: what the API takes as `fields`; by default the five columns of the state.
        """
        with self._lock:
            self.add_base(base)
            return self._create_table(base, name, list(columns)).id

    def add_column(self, base: str, table: str, column: Mapping[str, Any]) -> None:
        """Add a column, given as the API takes it."""
        with self._lock:
            add_column(self._table(base, table), column)

    def remove_column(self, base: str, table: str, name: str) -> None:
        """Remove a column with its cells."""
        with self._lock:
            found = self._table(base, table)
            column = found.column(name)
            found.columns.remove(column)
            for row in found.rows.values():
                row.cells.pop(column.id, None)

    def columns(self, base: str, table: str) -> list[str]:
        """Return the names of the columns in their order."""
        with self._lock:
            return [column.name for column in self._table(base, table).columns]

    def rows(self, base: str, table: str) -> list[Record]:
        """Return all rows in the order of their creation."""
        with self._lock:
            found = self._table(base, table)
            return [found.render(row) for row in found.rows.values()]

    def add_row(
        self, base: str, table: str, fields: Mapping[str, object], created: datetime | None = None
    ) -> str:
        """Add a row that was created now, or then, and return its id."""
        with self._lock:
            found = self._table(base, table)
            cells = found.convert(dict(fields), typecast=False)
            return found.insert(cells, created or self._created()).id

    def update_row(self, base: str, table: str, row_id: str, fields: Mapping[str, object]) -> None:
        """Change some cells of a row; None empties one."""
        with self._lock:
            found = self._table(base, table)
            found.update(found.rows[row_id], found.convert(dict(fields), typecast=False))

    def delete_row(self, base: str, table: str, row_id: str) -> None:
        """Delete a row."""
        with self._lock:
            del self._table(base, table).rows[row_id]

    def unauthenticated(self) -> Reply:
        return refusal("AUTHENTICATION_REQUIRED", "Authentication required", 401).reply

    def handle(self, request: Request) -> Reply:
        return Reply.of(200, self._route(request))

    def _route(self, request: Request) -> object:
        match request.segments:
            case "v0", "meta", "whoami":
                told = {"scopes": sorted(self.scopes)} if self._tells_scopes else {}
                return {"id": USER, **told}
            case "v0", "meta", "bases", base, "tables", *rest:
                self._limit_rate(base)
                self._require_scope("schema.bases", request)
                return self._serve_schema(request, base, rest)
            case "v0", base, table, *rest:
                self._limit_rate(base)
                self._require_scope("data.records", request)
                return self._serve_records(request, self._table(base, table), rest)
            case _:
                raise _not_found()

    def _serve_schema(self, request: Request, base: str, rest: Sequence[str]) -> object:
        match request.method, *rest:
            case ["GET"]:
                return {"tables": [table.document() for table in self._tables(base)]}
            case ["POST"]:
                body = _body(request)
                return self._create_table(base, body.get("name"), body.get("fields")).document()
            case "POST", table_id, "fields":
                return add_column(self._table_by_id(base, table_id), _body(request)).document()
            case _:
                raise _not_found()

    def _serve_records(self, request: Request, table: Table, rest: Sequence[str]) -> object:
        match request.method, *rest:
            case ["GET"]:
                return _list_records(table, _list_options(request.query))
            case "POST", "listRecords":
                return _list_records(table, _body(request))
            case ["POST"]:
                return _create(table, _body(request), self._created())
            case [("PATCH" | "PUT") as method]:
                return _update(table, _body(request), self._created(), replace=method == "PUT")
            case ["DELETE"]:
                return _delete(table, request.query.get("records[]"))
            case "GET", row_id:
                return table.render(_row(table, row_id))
            case ("PATCH" | "PUT") as method, row_id:
                row = _row(table, row_id)
                return _update_one(table, row, _body(request), replace=method == "PUT")
            case "DELETE", row_id:
                return _delete_one(table, _row(table, row_id))
            case _:
                raise _not_found()

    def _require_scope(self, kind: str, request: Request) -> None:
        """Refuse a request that the token has no scope for, whatever it holds."""
        is_read = request.method == "GET" or request.path.endswith("/listRecords")
        if f"{kind}:{'read' if is_read else 'write'}" not in self.scopes:
            raise _forbidden()

    def _limit_rate(self, base: str) -> None:
        """Count a request to a base; refuse it if there were too many of them just before."""
        if self.rate_limit is None:
            return
        now, accepted = self.now(), self._accepted[base]
        while accepted and accepted[0] <= now - 1:
            accepted.popleft()
        locked = now < self._locked_until[base]
        if not locked and len(accepted) < self.rate_limit.requests:
            accepted.append(now)
            return
        if not locked:
            self._locked_until[base] = now + self.rate_limit.lockout
        seconds = math.ceil(self._locked_until[base] - now)
        raise _rate_limit_reached(
            {"Retry-After": str(seconds)} if self.rate_limit.retry_after else {}
        )

    def _tables(self, base: str) -> list[Table]:
        if base not in self._bases:
            raise self._unknown_error()
        return self._bases[base]

    def _table(self, base: str, name_or_id: str) -> Table:
        for table in self._tables(base):
            if name_or_id in (table.id, table.name):
                return table
        raise self._unknown_error()

    def _table_by_id(self, base: str, table_id: str) -> Table:
        """Return a table by its id alone: creating a field takes no table name."""
        table = self._table(base, table_id)
        if table.id != table_id:
            raise self._unknown_error()
        return table

    def _unknown_error(self) -> ApiError:
        return _forbidden() if self._unknown == 403 else _not_found()

    def _created(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def _create_table(self, base: str, name: object, fields: object) -> Table:
        tables = self._tables(base)
        if not (isinstance(name, str) and name and isinstance(fields, list) and fields):
            raise invalid_request()
        if name in (table.name for table in tables):
            message = "Cannot create more than one table with the same name"
            raise refusal("DUPLICATE_TABLE_NAME", message)
        table = Table(new_id("tbl"), name, [])
        for column in fields:
            add_column(table, column)
        tables.append(table)
        return table


def _is_claim(fields: Mapping[str, object]) -> bool:
    return str(fields.get("migration_id", "")).startswith("lock:")


def _is_about_lock(request: Request) -> bool:
    """Whether a request is one of the lock's: nothing else filters, deletes or renews rows."""
    match request.method, request.body:
        case "GET", _:
            return "filterByFormula" in request.query
        case "PATCH", {"records": [{"fields": fields}]}:
            return _is_claim(fields)
        case "PATCH", {"fields": fields}:
            return set(fields) <= {"started_at", "applied_at"}
        case method, _:
            return method == "DELETE"


def _body(request: Request) -> dict[str, Any]:
    """Return the body of a request, which must be a JSON object."""
    if not isinstance(request.body, dict):
        raise invalid_request()
    return request.body


def _list_options(query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the options of a list request in the form in which `listRecords` takes them."""
    options: dict[str, Any] = {name: values[-1] for name, values in query.items()}
    if "fields[]" in options:
        del options["fields[]"]
        options["fields"] = query["fields[]"]
    if "sort[0][field]" in options:
        direction = options.pop("sort[0][direction]", "asc")
        options["sort"] = [{"field": options.pop("sort[0][field]"), "direction": direction}]
    return options


def _list_records(table: Table, options: Mapping[str, Any]) -> dict[str, object]:
    """Return one page, and the offset of the next if there is one."""
    if unknown := options.keys() - _LIST_OPTIONS:
        raise invalid_request(f"not supported here: {', '.join(sorted(unknown))}")
    page_size = _positive(options.get("pageSize", PAGE_SIZE))
    if page_size > PAGE_SIZE:
        raise invalid_request()
    for name in options.get("fields", []):
        table.column(name)  # raises if there is none
    rows = list(table.rows.values())
    if "filterByFormula" in options:
        rows = _filtered(table, rows, str(options["filterByFormula"]))
    for each in options.get("sort", []):
        is_descending = each.get("direction") == "desc"
        rows.sort(key=_cell_of(table, each["field"]), reverse=is_descending)
    if "maxRecords" in options:
        rows = rows[: _positive(options["maxRecords"])]
    seen = _rows_seen(options.get("offset"))
    rows = [row for row in rows if row.number > seen]
    page = rows[:page_size]
    by_id = options.get("returnFieldsByFieldId") in (True, "1", "true")
    only = options.get("fields", [])
    document: dict[str, object] = {
        "records": [table.render(row, by_id=by_id, only=only) for row in page]
    }
    if len(rows) > page_size:
        document["offset"] = f"itr{page[-1].number:014}/{page[-1].id}"
    return document


def _filtered(table: Table, rows: Iterable[Row], formula: str) -> list[Row]:
    """Return the rows that have one of the values, or whose text begins, as the formula says."""
    if _IS_ONE_OF.fullmatch(formula):
        conditions = [list(_COMPARED.finditer(each[0])) for each in re.finditer(_ALL, formula)]
        return [row for row in rows if any(_has_all(table, row, each) for each in conditions)]
    match = _BEGINS_WITH.fullmatch(formula)
    if match is None:
        raise invalid_request(f"not supported here: {formula}")
    cell, length = _cell_of(table, match["column"]), int(match["length"])
    return [row for row in rows if cell(row)[:length] == match["text"]]


def _cell_of(table: Table, name: str) -> Callable[[Row], str]:
    """Return what reads the text of a row's cell in the column of this name."""
    if not table.has_column(name):
        message = f"The formula for filtering records is invalid: Unknown field names: {name}"
        raise refusal("INVALID_FILTER_BY_FORMULA", message)
    column = table.column(name)
    return lambda row: str(row.cells.get(column.id, ""))


def _has_all(table: Table, row: Row, compared: Iterable[re.Match[str]]) -> bool:
    """Return whether a row has all these values, or has them not where the sign says so."""
    return all(
        ((_cell_of(table, each["column"])(row) if each["column"] else row.id) == each["value"])
        is (each["sign"] == "=")
        for each in compared
    )


def _rows_seen(offset: object) -> int:
    """Return the number of the last row before the page that an offset stands for."""
    if offset is None:
        return 0
    number = str(offset).removeprefix("itr").partition("/")[0]
    if not number.isdecimal():
        raise refusal("INVALID_OFFSET_VALUE", f"The value of offset {offset} is invalid")
    return int(number)


def _create(table: Table, body: Mapping[str, Any], now: datetime) -> object:
    """Create one record or a batch: all of it, or nothing if one record is refused."""
    typecast, by_id = _flags(body)
    if "records" not in body and "fields" not in body:
        message = 'Could not find field "fields" in the request body'
        raise refusal("INVALID_REQUEST_MISSING_FIELDS", message)
    records = _batch(body["records"]) if "records" in body else [body]
    new = [table.convert(record.get("fields"), typecast=typecast) for record in records]
    created = [table.render(table.insert(cells, now), by_id=by_id) for cells in new]
    return {"records": created} if "records" in body else created[0]


def _update(table: Table, body: Mapping[str, Any], now: datetime, *, replace: bool) -> object:
    """Update or upsert a batch: all of it, or nothing if one record is refused."""
    typecast, by_id = _flags(body)
    keys = _merge_keys(table, body["performUpsert"]) if "performUpsert" in body else []
    changes: list[tuple[Row | None, dict[str, Cell | None]]] = []
    for record in _batch(body.get("records")):
        cells = table.convert(record.get("fields"), typecast=typecast)
        by_key = keys and "id" not in record
        row = table.matching(cells, keys) if by_key else _batch_row(table, record.get("id"))
        changes.append((row, cells))
    rows = [
        table.update(row, cells, replace=replace) if row else table.insert(cells, now)
        for row, cells in changes
    ]
    document: dict[str, object] = {"records": [table.render(row, by_id=by_id) for row in rows]}
    if keys:
        updated = [row.id for row, _ in changes if row]
        document["updatedRecords"] = updated
        document["createdRecords"] = [row.id for row in rows if row.id not in updated]
    return document


def _update_one(table: Table, row: Row, body: Mapping[str, Any], *, replace: bool) -> Record:
    typecast, by_id = _flags(body)
    cells = table.convert(body.get("fields"), typecast=typecast)
    return table.render(table.update(row, cells, replace=replace), by_id=by_id)


def _delete(table: Table, row_ids: object) -> dict[str, object]:
    rows = [_batch_row(table, row_id) for row_id in _batch_of(row_ids)]
    return {"records": [_delete_one(table, row) for row in rows]}


def _delete_one(table: Table, row: Row) -> dict[str, object]:
    del table.rows[row.id]
    return {"id": row.id, "deleted": True}


def _row(table: Table, row_id: str) -> Row:
    """Return the row that a path names."""
    if row_id not in table.rows:
        raise _not_found()
    return table.rows[row_id]


def _batch_row(table: Table, row_id: object) -> Row:
    """Return a row that a batch names."""
    if not isinstance(row_id, str) or row_id not in table.rows:
        message = f"Record ID {row_id} does not exist in this table"
        raise refusal("ROW_DOES_NOT_EXIST", message)
    return table.rows[row_id]


def _batch_of(items: object) -> list[Any]:
    """Return the items of a batch, of which there must be 1 to 10."""
    if not isinstance(items, list) or not 1 <= len(items) <= BATCH_SIZE:
        raise invalid_request()
    return items


def _batch(records: object) -> list[dict[str, Any]]:
    """Return the records of a batch."""
    batch = _batch_of(records)
    if not all(isinstance(record, dict) for record in batch):
        raise invalid_request()
    return batch


def _merge_keys(table: Table, upsert: object) -> list[str]:
    """Return the ids of the columns that an upsert goes by, of which there must be 1 to 3."""
    names = upsert.get("fieldsToMergeOn") if isinstance(upsert, dict) else None
    if not isinstance(names, list) or not 1 <= len(names) <= MERGE_FIELDS:
        raise invalid_request()
    return [table.column(name).id for name in names]


def _flags(body: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether to cast types, and whether to reply with field ids."""
    return bool(body.get("typecast")), bool(body.get("returnFieldsByFieldId"))


def _positive(value: object) -> int:
    if not str(value).isdecimal() or int(str(value)) == 0:
        raise invalid_request()
    return int(str(value))


def _forbidden() -> ApiError:
    return refusal(
        "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND",
        "Invalid permissions, or the requested model was not found. Check that both your user and"
        " your token have the required permissions, and that the model names and/or ids are"
        " correct.",
        403,
    )


def _not_found() -> ApiError:
    return ApiError(Reply.of(404, {"error": "NOT_FOUND"}))


def _rate_limit_reached(headers: Mapping[str, str]) -> ApiError:
    message = "Rate limit exceeded. Please try again later"
    body = {"errors": [{"error": "RATE_LIMIT_REACHED", "message": message}]}
    return ApiError(Reply.of(429, body, headers))
