"""How the platform answers what would change something, in a rehearsal.

Its addresses tell what is what: after the module they are collections and ids by turns, and a word
after an id is a collection if it is in the plural, else an action: /catalog/products/ID/items,
/catalog/products/ID/publish.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

from mpt_tool.clients.conditions import fits_query
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

_AFTER_MODULE = re.compile(r"^[^/]+//[^/]+(?:/.*)?/public/v1/[^/]+/(?P<rest>.+)$")
_PLURAL = re.compile(r".*[^s]s|media")


def is_concerned(request: Request, rehearsal: Rehearsal) -> bool:
    """Whether the reply to a read has to show what was changed."""
    address = request.address
    return bool(
        is_made_up(address) or rehearsal.known(*_split(address)) or rehearsal.objects(address)
    )


def read(request: Request, rehearsal: Rehearsal) -> Answer:
    """Answer a read of an object or a list."""
    address = request.address
    known = rehearsal.known(*_split(address))
    if known and known.is_deleted:
        return _missing(address)
    if known and known.is_new:
        return Reply.of(200, known.fields)
    if not is_made_up(address):
        reply = yield request
    elif _is_collection(address):
        reply = _empty_page(request)
    else:
        return _missing(address)
    body = reply.json()
    if not (reply.is_fine and isinstance(body, dict)):
        return reply
    if known:
        return Reply.of(reply.status, _changed(body, known, _left_out(body, request.query)))
    objects = rehearsal.objects(address)
    if objects and isinstance(body.get("data"), list):
        return Reply.of(reply.status, _page(body, objects, request.query))
    return reply


def write(request: Request, rehearsal: Rehearsal) -> Answer:
    """Answer what would change something."""
    address, sent = request.address, _sent(request)
    collection, object_id = _split(address)
    is_post = request.method == "POST"
    if isinstance(sent, list):
        return (yield from _write_each(request, sent, rehearsal))
    if is_post and _is_collection(address):
        return Reply.of(201, rehearsal.create(request, address, sent))
    reply = yield from read(Request("GET", collection if is_post else address), rehearsal)
    current = reply.json()
    if not (reply.is_fine and isinstance(current, dict)):
        # So would it be answered: the object is not there, or nobody may see it.
        return reply
    if is_post:
        rehearsal.act(request, current)
        return reply
    # How the reply was made is no part of the object.
    current.pop("$meta", None)
    if request.method == "DELETE":
        rehearsal.delete(request, collection, object_id, current)
        return Reply(204)
    return Reply.of(200, rehearsal.update(request, collection, object_id, current, sent))


def _write_each(request: Request, sent: Sequence[Object], rehearsal: Rehearsal) -> Answer:
    """Answer a write of several objects to their collection, each on its own."""
    done = []
    for each in sent:
        content = json.dumps(each).encode()
        address = request.address
        if request.method != "POST":
            address = f"{address}/{each.get('id')}"
        one = Request(request.method, address, content, request.content_type)
        reply = yield from write(one, rehearsal)
        if not reply.is_fine:
            return reply
        done.append(reply.json())
    return Reply.of(200, done)


def _split(address: str) -> tuple[str, str]:
    """Return the address of the collection, and the id, of an object."""
    collection, _, object_id = address.rpartition("/")
    return collection, object_id


def _is_collection(address: str) -> bool:
    match = _AFTER_MODULE.match(address)
    words = match["rest"].split("/") if match else []
    return len(words) == 1 or (len(words) % 2 == 1 and bool(_PLURAL.fullmatch(words[-1])))


def _missing(address: str) -> Reply:
    detail = f"{address.rpartition('/')[2]} is not there, in this rehearsal."
    return Reply.of(404, {"status": "404", "title": "Not Found", "detail": detail})


def _empty_page(request: Request) -> Reply:
    """Return the list of what is below an object that the platform does not have."""
    asked = parse_qs(request.query)
    limit, offset = (
        int(asked.get(name, [default])[0]) for name, default in (("limit", "100"), ("offset", "0"))
    )
    pagination = {"limit": limit, "offset": offset, "total": 0}
    return Reply.of(200, {"data": [], "$meta": {"pagination": pagination}})


def _page(body: Object, objects: Mapping[str, Known], query: str) -> Object:
    """Return a page of a list with what was changed; what is new comes at the end of the list."""
    had, is_left_out = body["data"], _left_out(body, query)
    known = [(each, objects.get(each.get("id"), Known())) for each in had]
    shown = [_changed(each, one, is_left_out) for each, one in known if not one.is_deleted]
    new = [each.fields for each in objects.values() if each.is_new and not each.is_deleted]
    new = [each for each in new if fits_query(each, query)]
    pagination = body.get("$meta", {}).get("pagination")
    if not pagination:
        return {**body, "data": [*shown, *new]}
    total, limit, offset = (pagination.get(name, 0) for name in ("total", "limit", "offset"))
    here = new[max(0, offset - total) : max(0, offset + limit - total)]
    # While there are further pages, the offset of the next counts what is deleted.
    gone = len(had) - len(shown) if total <= limit and not offset else 0
    pagination = {**pagination, "total": total + len(new) - gone}
    meta = {**body["$meta"], "pagination": pagination}
    return {**body, "data": [*shown, *here], "$meta": meta}


def _changed(had: Object, known: Known, is_left_out: Callable[[str], bool]) -> Object:
    """Return an object with what was changed, but for fields that were not asked for."""
    fields = known.fields.items()
    return merged(
        had, {name: value for name, value in fields if name in had or not is_left_out(name)}
    )


def _left_out(body: Object, query: str) -> Callable[[str], bool]:
    """Return whether a reply leaves out a field by itself, or as its query selects others."""
    # A plus that is not encoded reads as a blank.
    selected = ",".join(parse_qs(query).get("select", [])).split(",")
    alone = {name for name in selected if name[:1] not in {"", "+", " ", "-"}}
    omitted = {f"-{name}" for name in body.get("$meta", {}).get("omitted", [])}
    less = omitted.union(selected)
    return lambda name: f"-{name}" in less or (bool(alone) and name not in alone)


def _sent(request: Request) -> Any:
    """Return the body of a request: JSON, or a form with a part of JSON and files."""
    if not request.content_type.startswith("multipart/"):
        return request.json() or {}
    head = f"Content-Type: {request.content_type}\r\n\r\n".encode()
    parts = message_from_bytes(head + request.content).get_payload()
    fields: Object = {}
    for part in parts if isinstance(parts, list) else []:
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if name := part.get_filename():
            fields["file"] = f"{name}, {len(content):,} bytes"
        elif part.get_content_type() == "application/json":
            fields |= json.loads(content)
    return fields
