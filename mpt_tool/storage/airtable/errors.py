"""What Airtable's errors mean, as messages that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyairtable import Table
from requests import HTTPError
from requests.exceptions import InvalidHeader

from mpt_tool.clients.limiter import NotBegunError
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import StorageError
from mpt_tool.settings import variables
from mpt_tool.storage.airtable.settings import StoreSettings


@contextmanager
def explaining_errors(table: Table) -> Iterator[None]:
    """Raise what a request to the table, or to its base, fails with as a `StorageError`."""
    try:
        yield
    except HTTPError as error:
        is_refused = error.response.status_code in (401, 403, 404)
        topic = "airtable-refused" if is_refused else ""
        raise StorageError(_explanation(error, table), topic) from error
    except NotBegunError as error:
        raise StorageError(
            f"Airtable has no time for table {table.name}, and the run is to stop"
        ) from error
    except (InvalidHeader, UnicodeEncodeError) as error:
        raise StorageError(
            f"{variables(StoreSettings, 'api_key')} holds a character that no key has"
        ) from error
    except OSError as error:
        raise StorageError(
            f"Airtable cannot be reached ({type(error).__name__}):"
            f" check the network and {variables(StoreSettings, 'endpoint_url')}",
            topic="airtable-unreachable",
        ) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StorageError(
            "What answers is not Airtable, for its reply has another form:"
            f" check {variables(StoreSettings, 'endpoint_url')}",
            topic="airtable-unreachable",
        ) from error


def _explanation(error: HTTPError, asked: Table) -> str:
    table, base = asked.name, asked.base.id
    kind, message = _error_body(error)
    base_setting = variables(StoreSettings, "base_id")
    is_about_base = "/meta/bases/" in str(error.response.url)
    match error.response.status_code:
        case 401:
            return f"Airtable refuses the key (401): check {variables(StoreSettings, 'api_key')}"
        case 403 if is_about_base:
            return (
                f"Airtable refuses base {base} (403): it does not exist, so check {base_setting};"
                " or the key lacks access to it, or a scope (schema.bases:read and :write)"
            )
        case 403:
            return (
                f"Airtable refuses base {base}, table {table} (403): the table may be missing, so"
                " create it: mpt-tool migrate --init; or the base does not exist, so check"
                f" {base_setting}; or the key lacks access to it, or a scope (data.records:read and"
                " :write)"
            )
        case 404 if is_about_base:
            return f"Airtable has no base {base} (404): check {base_setting}"
        case 404:
            return (
                f"Airtable has no base {base} or no table {table} in it (404): check"
                f" {base_setting} and {variables(StoreSettings, 'table_name')},"
                " or create the table: mpt-tool migrate --init"
            )
        case 422 if column := unknown_column(error):
            return (
                f"Airtable table {table} has no column {column}: add it by hand,"
                " or run: mpt-tool migrate --init"
            )
        case 422 if kind == "INVALID_MULTIPLE_CHOICE_OPTIONS":
            choices = " and ".join(MigrationTypeEnum)
            return (
                f"Airtable table {table}: column type needs the choices {choices}:"
                f" add what is missing ({message})"
            )
        case status if status == 429 or status >= 500:
            return (
                f"Airtable has no time for table {table} ({status}): raise"
                f" {variables(StoreSettings, 'retry_seconds')} to go on asking for longer"
            )
        case status:
            reason = " ".join(filter(None, [str(status), kind, message]))
            return f"Airtable refuses a request to table {table}: {reason}"


def _error_body(error: HTTPError) -> tuple[str, str]:
    """Return the type and the message of Airtable's error; it answers in more than one shape."""
    try:
        body = error.response.json()
    except ValueError:
        return "", error.response.reason or ""
    match body:
        case {"error": {"type": kind, **rest}} | {"errors": [{"error": kind, **rest}, *_]}:
            return str(kind), str(rest.get("message", ""))
        case {"error": kind}:
            return str(kind), ""
    return "", ""


def unknown_column(error: HTTPError) -> str | None:
    """Return the column that Airtable says the table lacks."""
    kind, message = _error_body(error)
    if kind != "UNKNOWN_FIELD_NAME":
        return None
    return message.partition('"')[2].rpartition('"')[0] or None


def is_gone(error: HTTPError) -> bool:
    """Whether Airtable says that a table or a row is not there; a 403 may mean just that."""
    return error.response.status_code in (403, 404)
