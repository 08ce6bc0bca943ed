"""How Airtable answers what would change records, in a rehearsal.

Records alone are answered for: one of them, or ten in a request. What would change tables, fields,
comments or webhooks is refused. A cell is taken to become what was sent: types are not cast, and
what is computed of it stays as it is.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from pyairtable.formulas import match

from mpt_tool.clients.conditions import fits_formula
from mpt_tool.clients.rehearsal import (
    Answer,
    Known,
    Object,
    Rehearsal,
    Reply,
    Request,
    is_made_up,
    merged,
)

_RECORDS = re.compile(r"^(?P<table>.+/v0/app[^/]+/[^/]+?)(/listRecords|/(?P<record>[^/]+))?$")
# How deep a record is merged: its fields one by one, their values as a whole.
_DEPTH = 1
# An empty cell is left out.
_EMPTY: tuple[object, ...] = (None, "", False, [])


def is_concerned(request: Request, rehearsal: Rehearsal) -> bool:
    """Whether the reply to a read has to show what was changed."""
    place = _RECORDS.match(request.address)
    return bool(place and rehearsal.objects(place["table"]))


def read(request: Request, rehearsal: Rehearsal) -> Answer:
    """Answer a read of a record or a list."""
    place = _RECORDS.match(request.address)
    assert place
    table, record_id, options = place["table"], place["record"], _options(request)
    known = (rehearsal.known(table, record_id) if record_id else None) or Known()
    if known.is_deleted or (is_made_up(request.address) and not known.is_new):
        return Reply.of(404, {"error": "NOT_FOUND"})
    if known.is_new:
        return Reply.of(200, _shown(known.fields, options))
    reply = yield request
    body = reply.json()
    if not (reply.is_fine and isinstance(body, dict)):
        return reply
    if record_id:
        return Reply.of(reply.status, _shown(body, options, known))
    return Reply.of(reply.status, _page(body, rehearsal.objects(table), options))


def write(request: Request, rehearsal: Rehearsal) -> Answer:
    """Answer what would change records; none of a batch is changed if one of them is not there.

    Raises:
        RefusedWriteError: it would change something else.
    """
    place = _RECORDS.match(request.address)
    if not place or (request.method == "POST" and place["record"]):
        rehearsal.refuse(request, "a rehearsal answers for records of Airtable alone")
    table, record_id, body = place["table"], place["record"], request.json() or {}
    is_batch = not (record_id or "fields" in body)
    if request.method == "DELETE":
        ids = [record_id] if record_id else parse_qs(request.query).get("records[]", [])
        given: Sequence[Object] = [{"id": each} for each in ids]
    else:
        given = body["records"] if is_batch else [{**body, "id": record_id}]
    if request.method == "POST":
        created = [_create(request, rehearsal, table, each) for each in given]
        return Reply.of(200, {"records": created} if is_batch else created[0])
    found = yield from _found(request, rehearsal, table, record_id, given)
    if isinstance(found, Reply):
        return found
    if request.method == "DELETE":
        for each, before in zip(given, found, strict=True):
            rehearsal.delete(request, table, each["id"], before or {})
        gone = [{"id": each["id"], "deleted": True} for each in given]
        return Reply.of(200, {"records": gone} if is_batch else gone[0])
    done = [
        _update(request, rehearsal, table, before, each)
        if before
        else _create(request, rehearsal, table, each)
        for before, each in zip(found, given, strict=True)
    ]
    if not is_batch:
        return Reply.of(200, done[0])
    pairs = list(zip(found, done, strict=True))
    upserted = {
        "createdRecords": [each["id"] for before, each in pairs if not before],
        "updatedRecords": [each["id"] for before, each in pairs if before],
    }
    return Reply.of(200, {"records": done, **(upserted if "performUpsert" in body else {})})


def _found(
    request: Request,
    rehearsal: Rehearsal,
    table: str,
    record_id: str | None,
    given: Sequence[Object],
) -> Generator[Request, Reply, list[Object | None] | Reply]:
    """Return the record of each that is given, None for what an upsert is to create.

    One read is enough: of the record, or of all of a batch by a formula. If that fails, or one is
    not there, its reply is returned.
    """
    body = request.json() or {}
    keys = body.get("performUpsert", {}).get("fieldsToMergeOn", [])
    formulas = [_formula(each, keys) for each in given]
    query = {"returnFieldsByFieldId": 1} if body.get("returnFieldsByFieldId") else {}
    if record_id:
        reply = yield from read(Request("GET", _url(request.address, query)), rehearsal)
    else:
        by_formula = query | {"filterByFormula": f"OR({', '.join(formulas)})"}
        reply = yield from read(Request("GET", _url(table, by_formula)), rehearsal)
    answer = reply.json()
    if not (reply.is_fine and isinstance(answer, dict)):
        return reply
    records = [answer] if record_id else answer["records"]
    found: list[Object | None] = [
        next((each for each in records if fits_formula(each, formula)), None)
        for formula in formulas
    ]
    for each, before in zip(given, found, strict=True):
        if not before and ("id" in each or not keys):
            message = f"Record ID {each.get('id')} does not exist in this table"
            return Reply.of(422, {"error": {"type": "ROW_DOES_NOT_EXIST", "message": message}})
    return found


def _formula(given: Object, keys: Sequence[str]) -> str:
    """Return what a record is found by: its id, or its values in the fields of an upsert."""
    if "id" in given or not keys:
        return f'RECORD_ID() = "{given.get("id")}"'
    return str(match({key: given["fields"].get(key, "") for key in keys}))


def _url(address: str, query: Mapping[str, Any]) -> str:
    return f"{address}?{urlencode(query)}" if query else address


def _create(request: Request, rehearsal: Rehearsal, table: str, given: Object) -> Object:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = rehearsal.create(request, table, {"fields": given["fields"]}, {"createdTime": now})
    return _shown(made)


def _update(
    request: Request, rehearsal: Rehearsal, table: str, before: Object, given: Object
) -> Object:
    """Return a record with what was sent; a PUT empties all other cells."""
    emptied = dict.fromkeys(before["fields"]) if request.method == "PUT" else {}
    fields = {"fields": emptied | given["fields"]}
    return _shown(rehearsal.update(request, table, before["id"], before, fields, _DEPTH))


def _options(request: Request) -> Object:
    """Return the options of a read, as they are in the body of a long one."""
    if request.method == "POST":
        return request.json() or {}
    asked = parse_qs(request.query)
    options: Object = {name: values[-1] for name, values in asked.items()}
    if "fields[]" in asked:
        options["fields"] = asked["fields[]"]
    return options


def _page(body: Object, objects: Mapping[str, Known], options: Object) -> Object:
    """Return a page of a list with what was changed; what is new comes at the end of the list."""
    known = [(each, objects.get(each["id"], Known())) for each in body["records"]]
    records = [_shown(each, options, one) for each, one in known if not one.is_deleted]
    if "offset" not in body:
        formula = options.get("filterByFormula")
        new = [each.fields for each in objects.values() if each.is_new and not each.is_deleted]
        new = [each for each in new if not formula or fits_formula(each, formula)]
        records += [_shown(each, options) for each in new]
        records = records[: int(options.get("maxRecords", len(records)))]
    return {**body, "records": records}


def _shown(record: Object, options: Object | None = None, known: Known | None = None) -> Object:
    """Return a record as a reply shows it: with what was changed, of the fields asked for."""
    changed = merged(record, known.fields, _DEPTH) if known else record
    asked = (options or {}).get("fields")
    fields = {
        name: value
        for name, value in changed["fields"].items()
        if value not in _EMPTY and (not asked or name in asked)
    }
    return {**changed, "fields": fields}
