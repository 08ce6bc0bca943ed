"""The tables of the Airtable of the tests: columns with the rules of their types, and rows."""

import math
import random
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

from .http_server import ApiError, Reply

type Cell = str | int | float

LONGEST_TEXT = 100_000
_DATE_FORMATS = {
    "local": "l",
    "friendly": "LL",
    "us": "M/D/YYYY",
    "european": "D/M/YYYY",
    "iso": "YYYY-MM-DD",
}
_TIME_FORMATS = {"12hour": "h:mma", "24hour": "HH:mm"}


class Record(TypedDict):
    """A row in the form in which the API gives it out."""

    id: str
    createdTime: str
    fields: dict[str, Cell]


@dataclass
class Column:
    """A field of a table, and the rules of its type."""

    id: str
    name: str
    type: str
    options: dict[str, Any]

    @property
    def choices(self) -> list[str]:
        return [choice["name"] for choice in self.options["choices"]]

    def convert(self, value: object, *, typecast: bool) -> Cell | None:
        """Return the cell that a value ends up as, or None if it empties the cell.

        Raises:
            ApiError: the column does not accept the value.
        """
        if value is None or value == "":
            return None
        cell: Cell | None
        match self.type:
            case "number":
                cell = _number(value, typecast=typecast)
            case "dateTime":
                cell = _date_time(value)
            case "singleSelect":
                cell = self._choice(value, typecast=typecast)
            case _:
                cell = _text(value, typecast=typecast)
        if cell is None:
            message = f'Field "{self.name}" cannot accept the provided value'
            raise refusal("INVALID_VALUE_FOR_COLUMN", message)
        return cell

    def _choice(self, value: object, *, typecast: bool) -> str | None:
        name = _text(value, typecast=typecast)
        if name is None or name in self.choices:
            return name
        if not typecast:
            raise refusal(
                "INVALID_MULTIPLE_CHOICE_OPTIONS",
                f'Insufficient permissions to create new select option ""{name}""',
            )
        self.options["choices"].append(_choice_document(name))
        return name

    def document(self) -> dict[str, Any]:
        """Return the field as the metadata API gives it out."""
        document: dict[str, Any] = {"id": self.id, "name": self.name, "type": self.type}
        return {**document, "options": self.options} if self.options else document


@dataclass
class Row:
    """A record; `number` grows with each row of the table, and `cells` goes by column id."""

    id: str
    number: int
    created: datetime
    cells: dict[str, Cell]


@dataclass
class Table:
    """A table: its columns, the first of which is the primary one, and its rows."""

    id: str
    name: str
    columns: list[Column]
    rows: dict[str, Row] = field(default_factory=dict)
    rows_ever: int = 0

    def has_column(self, name_or_id: object) -> bool:
        """Whether there is a column of this name or id."""
        return any(name_or_id in (column.name, column.id) for column in self.columns)

    def column(self, name_or_id: object) -> Column:
        """Return the column of that name or id.

        Raises:
            ApiError: there is none.
        """
        for column in self.columns:
            if name_or_id in (column.id, column.name):
                return column
        raise refusal("UNKNOWN_FIELD_NAME", f'Unknown field name: "{name_or_id}"')

    def convert(self, fields: object, *, typecast: bool) -> dict[str, Cell | None]:
        """Return the cells that values end up as, by column id; nothing is stored.

        Raises:
            ApiError: a column is unknown or does not accept its value.
        """
        if not isinstance(fields, dict):
            raise invalid_request()
        columns = {name: self.column(name) for name in fields}
        return {
            column.id: column.convert(fields[name], typecast=typecast)
            for name, column in columns.items()
        }

    def insert(self, cells: Mapping[str, Cell | None], created: datetime) -> Row:
        """Add a row at the end and return it."""
        self.rows_ever += 1
        row = Row(new_id("rec"), self.rows_ever, created, {})
        self.rows[row.id] = row
        return self.update(row, cells)

    def update(self, row: Row, cells: Mapping[str, Cell | None], *, replace: bool = False) -> Row:
        """Change the given cells of a row, or all of them, and return it."""
        merged = {**cells} if replace else {**row.cells, **cells}
        row.cells = {name: cell for name, cell in merged.items() if cell is not None}
        return row

    def matching(self, cells: Mapping[str, Cell | None], keys: Iterable[str]) -> Row | None:
        """Return the row with the same cells in the key columns, or None.

        Raises:
            ApiError: several rows match, or a key is not given.
        """
        keys = list(keys)
        if not cells.keys() >= set(keys):
            raise invalid_request()
        rows = [
            row
            for row in self.rows.values()
            if all(row.cells.get(key) == cells[key] for key in keys)
        ]
        if len(rows) > 1:
            raise refusal("INVALID_UPSERT", "More than one record matches the fields to merge on")
        return rows[0] if rows else None

    def render(self, row: Row, *, by_id: bool = False, only: Iterable[str] = ()) -> Record:
        """Return a row as the API gives it out: no empty cells, and only these columns if any."""
        shown = [self.column(name) for name in only] or self.columns
        return {
            "id": row.id,
            "createdTime": row.created.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "fields": {
                column.id if by_id else column.name: row.cells[column.id]
                for column in shown
                if column.id in row.cells
            },
        }

    def document(self) -> dict[str, Any]:
        """Return the table as the metadata API gives it out."""
        return {
            "id": self.id,
            "name": self.name,
            "primaryFieldId": self.columns[0].id,
            "fields": [column.document() for column in self.columns],
            "views": [{"id": f"viw{self.id[3:]}", "name": "Grid view", "type": "grid"}],
        }


def add_column(table: Table, column: object) -> Column:
    """Add a column as the API takes it, completed as the API gives it out."""
    if not isinstance(column, Mapping):
        raise invalid_request()
    name, kind = column.get("name"), column.get("type")
    if not name or name in (other.name for other in table.columns):
        message = f'Field name "{name}" is empty or not unique in the table'
        raise refusal("DUPLICATE_OR_EMPTY_FIELD_NAME", message)
    options = _column_options(kind, column.get("options", {}))
    table.columns.append(Column(new_id("fld"), name, str(kind), options))
    return table.columns[-1]


def _column_options(kind: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a column, with the ids and formats that Airtable fills in."""
    try:
        match kind:
            case "number":
                return {"precision": options["precision"]}
            case "dateTime":
                date, clock = options["dateFormat"]["name"], options["timeFormat"]["name"]
                return {
                    "timeZone": options["timeZone"],
                    "dateFormat": {"name": date, "format": _DATE_FORMATS[date]},
                    "timeFormat": {"name": clock, "format": _TIME_FORMATS[clock]},
                }
            case "singleSelect":
                return {"choices": [_choice_document(new["name"]) for new in options["choices"]]}
            case "singleLineText" | "multilineText":
                return {}
    except (KeyError, TypeError) as error:
        message = f"Invalid options for a {kind} field: {error}"
        raise refusal("INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE", message) from error
    raise invalid_request(f"field type not supported here: {kind}")


def _choice_document(name: str) -> dict[str, str]:
    return {"id": new_id("sel"), "name": name, "color": "blueLight2"}


def _number(value: object, *, typecast: bool) -> int | float | None:
    """Return a number as JavaScript keeps it (exact up to 2**53), or None if it is none."""
    accepted = int | float | str if typecast else int | float
    if isinstance(value, bool) or not isinstance(value, accepted):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def _text(value: object, *, typecast: bool) -> str | None:
    """Return a text, or None if it is none or too long."""
    if typecast and isinstance(value, int | float):
        return str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_TEXT else None


def _date_time(value: object) -> str | None:
    """Return a moment in UTC, cut to milliseconds, or None if it is none; no offset means UTC."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    return prefix + "".join(random.choices(string.ascii_letters + string.digits, k=14))


def refusal(kind: str, message: str, status: int = 422) -> ApiError:
    """Return an error in the form that Airtable gives to most of them."""
    return ApiError(Reply.of(status, {"error": {"type": kind, "message": message}}))


def invalid_request(detail: str = "Check your request data.") -> ApiError:
    message = f"Invalid request: parameter validation failed. {detail}"
    return refusal("INVALID_REQUEST_UNKNOWN", message)
