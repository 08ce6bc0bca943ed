"""Keeps anything from being written meanwhile: refuses requests that would write, or answers them.

A dry run refuses them. A rehearsal answers them as if they were done, and keeps what they would
have changed, so that later reads see it. How an answer looks is up to the service: see
`platform_answers` and `airtable_answers`. An answer is a generator: it yields the reads that it
needs, is sent their replies, and returns the reply to the client. So it does not matter whether
whoever sends these reads is asynchronous.
"""

import itertools
import json
import math
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, NoReturn, Protocol, Self

from mpt_tool.enums import ChangeEnum

type Object = dict[str, Any]
"""What a body of JSON holds."""
type Answer = Generator["Request", "Reply", "Reply"]

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# What pyairtable asks by if the address would be too long.
_READ_BY_POST = "/listRecords"
_MADE_UP = "rehearsed-"
_JSON = "application/json"


class RefusedWriteError(Exception):
    """A request that may change something was not sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, whichever library sends it."""

    method: str
    url: str
    content: bytes = b""
    content_type: str = ""

    @property
    def address(self) -> str:
        """The URL without its query."""
        return self.url.partition("?")[0].rstrip("/")

    @property
    def query(self) -> str:
        """The query of the URL, as it is sent."""
        return self.url.partition("?")[2]

    def json(self) -> Any:
        """Return the body; None if there is none, or it is no JSON."""
        return _parsed(self.content)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, whichever library takes it."""

    status: int
    content: bytes = b""
    content_type: str = _JSON

    @classmethod
    def of(cls, status: int, body: object) -> Self:
        """Return a reply of JSON."""
        return cls(status, json.dumps(body).encode())

    @property
    def is_fine(self) -> bool:
        """Whether the request was answered as it was meant to be."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body; None if there is none, or it is no JSON."""
        return _parsed(self.content)


@dataclass(frozen=True, slots=True)
class Change:
    """What a request would have changed of one object.

    Args:
        kind: what becomes of the object.
        request: the method and the path.
        before: the object as it was; empty if it was not there.
        after: the object as it would be; empty if it would not be there.
    """

    kind: ChangeEnum
    request: str
    before: Object
    after: Object


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an object that was changed.

    Args:
        fields: those that were changed; all of them if it is new.
        is_new: whether the service does not have it.
        is_deleted: whether it would be gone.
    """

    fields: Object = field(default_factory=dict)
    is_new: bool = False
    is_deleted: bool = False


class Service(Protocol):
    """How the requests to a service are answered; a module of functions."""

    def is_concerned(self, request: Request, rehearsal: "Rehearsal") -> bool:
        """Whether the reply to a read has to show what was changed."""

    def read(self, request: Request, rehearsal: "Rehearsal") -> Answer:
        """Answer a read: with what the service has, and what was changed of it."""

    def write(self, request: Request, rehearsal: "Rehearsal") -> Answer:
        """Answer what would change something.

        Raises:
            RefusedWriteError: nobody could say how it would be answered.
        """


class Rehearsal:
    """A time in which nothing is written: what was refused or answered, and how all would be.

    Objects are known by their collection, which is an address, and their id. Several threads may
    use it.

    Args:
        answers: whether requests that would write are answered; they are refused if not.
    """

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.refused: list[str] = []
        """The requests that were refused."""
        self.reads: Sequence[str] = ()
        """How paths end to which a POST changes nothing."""
        self._changes: list[Change] = []
        self._collections: dict[str, dict[str, Known]] = {}
        self._numbers = itertools.count(1)
        self._turn = Lock()

    def answer(self, request: Request, service: Service) -> Answer | None:
        """Return what answers a request; None if it is to be sent as it is.

        Raises:
            RefusedWriteError: it may change something, and is not answered.
        """
        if is_read(request.method, request.url, self.reads):
            is_concerned = self._collections and service.is_concerned(request, self)
            return service.read(request, self) if is_concerned else None
        if not self.answers:
            self.refuse(request, "nothing may be written now")
        return service.write(request, self)

    def refuse(self, request: Request, reason: str) -> NoReturn:
        """Note that a request is refused.

        Raises:
            RefusedWriteError: it says which, and the reason.
        """
        refused = f"{request.method} {request.url}"
        self.refused.append(refused)
        raise RefusedWriteError(f"{refused} was refused: {reason}")

    def take_changes(self) -> list[Change]:
        """Return what would have been changed since this was asked before, in that order."""
        taken, self._changes = self._changes, []
        return taken

    def known(self, collection: str, object_id: str) -> Known | None:
        """Return what is known of an object; None if it was not changed."""
        return self._collections.get(collection, {}).get(object_id)

    def objects(self, collection: str) -> Mapping[str, Known]:
        """Return all that were changed of a collection, by id."""
        with self._turn:
            return dict(self._collections.get(collection, {}))

    def create(
        self, request: Request, collection: str, sent: Object, added: Object | None = None
    ) -> Object:
        """Return a new object of what was sent, with an id that is made up.

        Args:
            request: what would create it.
            collection: where.
            sent: its fields.
            added: those that the service adds, which are not shown as a change.
        """
        made_up = {"id": f"{_MADE_UP}{next(self._numbers)}"}
        made = {**made_up, **sent, **made_up}
        self._keep(collection, made["id"], Known({**(added or {}), **made}, is_new=True))
        self._note(ChangeEnum.CREATE, request, {}, made)
        return {**(added or {}), **made}

    def update(
        self,
        request: Request,
        collection: str,
        object_id: str,
        before: Object,
        fields: Object,
        depth: float = math.inf,
    ) -> Object:
        """Return an object as it is with these fields.

        Args:
            request: what would change it.
            collection: whose object it is.
            object_id: its id there.
            before: as it is, with all changes so far.
            fields: what is to be merged into it.
            depth: how many levels deep fields are merged; below, they are replaced.
        """
        with self._turn:
            objects = self._collections.setdefault(collection, {})
            known = objects.get(object_id, Known())
            objects[object_id] = replace(known, fields=merged(known.fields, fields, depth))
        after = merged(before, fields, depth)
        self._note(ChangeEnum.UPDATE, request, before, after)
        return after

    def delete(self, request: Request, collection: str, object_id: str, before: Object) -> None:
        """Let an object be gone."""
        self._keep(collection, object_id, Known(is_deleted=True))
        self._note(ChangeEnum.DELETE, request, before, {})

    def act(self, request: Request, target: Object) -> None:
        """Note what would be done with an object; nobody can say what it would change."""
        self._note(ChangeEnum.ACTION, request, target, target)

    def _keep(self, collection: str, object_id: str, known: Known) -> None:
        with self._turn:
            self._collections.setdefault(collection, {})[object_id] = known

    def _note(self, kind: ChangeEnum, request: Request, before: Object, after: Object) -> None:
        path = "/" + request.address.partition("://")[2].partition("/")[2]
        self._changes.append(Change(kind, f"{request.method} {path}", before, after))


def is_read(method: str, url: str, reads: Sequence[str] = ()) -> bool:
    """Whether a request changes nothing; a POST does not if its path ends with one of `reads`."""
    method, path = method.upper(), url.partition("?")[0]
    return method in _READS or (method == "POST" and path.endswith((_READ_BY_POST, *reads)))


def is_made_up(address: str) -> bool:
    """Whether an address names an object that no service has."""
    return f"/{_MADE_UP}" in address


def merged(before: Object, sent: Object, depth: float = math.inf) -> Object:
    """Return the fields of both; objects in them are merged so many levels deep, else replaced."""

    def value_of(name: str, value: Any) -> Any:
        earlier = before.get(name)
        is_deeper = depth > 0 and isinstance(earlier, dict) and isinstance(value, dict)
        return merged(earlier or {}, value, depth - 1) if is_deeper else value

    return {**before, **{name: value_of(name, value) for name, value in sent.items()}}


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


# Of the whole process: any class or helper of a script may have a client.
_now: Rehearsal | None = None


def rehearsal_now() -> Rehearsal | None:
    """Return what a request that is about to be sent has to ask; None if all may be sent."""
    return _now


def write_nothing(rehearsal: Rehearsal | None) -> None:
    """Have the requests of all clients refused or answered from now on, until the process ends.

    None lets them be sent again, for whoever runs several commands in one process.

    So is then what a thread of a script, or what it leaves to the exit, does after the rehearsal.
    """
    global _now  # noqa: PLW0603 - the process as a whole writes nothing
    _now = rehearsal


@contextmanager
def nothing_written(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """Have them refused or answered meanwhile."""
    global _now  # noqa: PLW0603 - the same
    earlier, _now = _now, rehearsal
    try:
        yield rehearsal
    finally:
        _now = earlier


def answered(answer: Answer, send: Callable[[Request], Reply]) -> Reply:
    """Return the reply of an answer, having sent the reads that it needs."""
    try:
        request = next(answer)
        while True:
            request = answer.send(send(request))
    except StopIteration as end:
        reply: Reply = end.value
        return reply


async def answered_async(answer: Answer, send: Callable[[Request], Awaitable[Reply]]) -> Reply:
    """Return the same where reads are awaited."""
    try:
        request = next(answer)
        while True:
            request = answer.send(await send(request))
    except StopIteration as end:
        reply: Reply = end.value
        return reply
