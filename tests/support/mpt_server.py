"""The Marketplace Platform's API in memory: collections, their items, and actions upon them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from .http_server import ApiError, LoopbackServer, Reply, Request
from .rql import RqlError, condition_of, fields_of, value_of

AGREEMENTS = "commerce/agreements"
MAX_PAGE_SIZE = 100
# What a page has if its size is left out.
PAGE_SIZE = 1000

_PARAMETERS = frozenset({"limit", "offset", "order", "select"})

type Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many requests are taken within any second, and what those beyond are answered.

    Args:
        requests: how many within a second, whatever becomes of them.
        retry_after: what the header Retry-After of a 429 says; without one if it is empty.
    """

    requests: int
    retry_after: str = ""


class MPTServer(LoopbackServer):
    """Lists, reads, creates, changes and removes items for one token, as mpt-api-client asks.

    A collection is there as soon as it has an item. Its list is in the order in which they were
    added, or as `order` says, and filtered by RQL. A page has `max_page_size` items at most,
    however many are asked for. What is `heavy` is left out of a list that does not select it.

    Args:
        token: the only token that is let in.
        clock: returns the seconds since the epoch, for the log of requests and the rate limit.
        greater_than: whether `gt` of an id is supported, refused with 400, fails with 500, or is
            ignored. May be set later.
        rate_limit: how many requests are taken, without a word about it; None for all. May be set
            later.
    """

    def __init__(
        self,
        token: str = "mpt-token",
        *,
        clock: Callable[[], float] = time.time,
        greater_than: Literal["supported", "refused", "fails", "ignored"] = "supported",
        rate_limit: RateLimit | None = None,
    ) -> None:
        super().__init__(token, clock)
        self.greater_than = greater_than
        self.rate_limit = rate_limit
        self.max_page_size = MAX_PAGE_SIZE
        self.heavy = {"audit"}
        self.order_of: Callable[[str], Any] = str
        self._collections: dict[str, dict[str, Item]] = {}
        self._taken = deque[float]()
        self._numbers = count(1)

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a project that uses this platform."""
        return {"MPT_API_BASE_URL": self.url, "MPT_API_TOKEN": self.token}

    def add(self, collection: str, item_id: str, **fields: Any) -> None:
        """Add an item at the end of a collection: of `catalog/products/PRD-1/parameters`."""
        with self._lock:
            self._collections.setdefault(collection, {})[item_id] = {"id": item_id, **fields}

    def remove(self, collection: str, item_id: str) -> None:
        """Remove an item."""
        with self._lock:
            del self._collections[collection][item_id]

    def items(self, collection: str) -> list[Item]:
        """Return all items of a collection in the order in which they were added."""
        with self._lock:
            return deepcopy(list(self._collections.get(collection, {}).values()))

    def add_agreement(self, agreement_id: str, **fields: Any) -> None:
        """Add an agreement, at the end of the list."""
        self.add(AGREEMENTS, agreement_id, **fields)

    def remove_agreement(self, agreement_id: str) -> None:
        """Remove an agreement."""
        self.remove(AGREEMENTS, agreement_id)

    def agreements(self) -> list[Item]:
        """Return all agreements in the order in which they were added."""
        return self.items(AGREEMENTS)

    def unauthenticated(self) -> Reply:
        return _error(401, "Unauthorized", "The token is missing or not valid.").reply

    def handle(self, request: Request) -> Reply:
        self._require_room()
        version, path = request.segments[:2], request.segments[2:]
        if version != ("public", "v1") or len(path) < 2:
            raise _error(404, "Not Found", f"No resource at {request.path}.")
        if len(path) % 2:
            *parts, item_id = path
            return self._handle_item(request, "/".join(parts), item_id)
        if request.method == "POST" and _is_action(path):
            *parts, item_id, _ = path
            return Reply.of(200, _merge(self._item("/".join(parts), item_id), request.body or {}))
        if request.method == "POST":
            return Reply.of(201, self._create("/".join(path), request.body))
        return Reply.of(200, self._page("/".join(path), request.query))

    def _handle_item(self, request: Request, collection: str, item_id: str) -> Reply:
        item = self._item(collection, item_id)
        match request.method:
            case "GET":
                return Reply.of(200, _Selection.of(request.query).applied(item))
            case "PUT":
                return Reply.of(200, _merge(item, request.body))
            case "DELETE":
                del self._collections[collection][item_id]
                return Reply.of(204, "")
            case method:
                raise _error(405, "Method Not Allowed", f"{method} {request.path}.")

    def _require_room(self) -> None:
        """Note that a request is taken.

        Raises:
            ApiError: there were too many within the last second.
        """
        now = self.now()
        while self._taken and self._taken[0] <= now - 1:
            self._taken.popleft()
        if self.rate_limit and len(self._taken) >= self.rate_limit.requests:
            wish = self.rate_limit.retry_after
            headers = {"Retry-After": wish} if wish else {}
            raise _error(429, "Too Many Requests", "Come back later.", headers)
        self._taken.append(now)

    def _item(self, collection: str, item_id: str) -> Item:
        try:
            return self._collections[collection][item_id]
        except KeyError:
            raise _error(404, "Not Found", f"No {item_id} in {collection}.") from None

    def _create(self, collection: str, body: Item) -> Item:
        items = self._collections.setdefault(collection, {})
        _, _, name = collection.rpartition("/")
        item = {"id": f"{name[:3].upper()}-{next(self._numbers)}", **body}
        items[item["id"]] = item
        return item

    def _page(self, collection: str, query: Mapping[str, list[str]]) -> Item:
        selection = _Selection.of(query)
        items = self._filtered(list(self._collections.get(collection, {}).values()), query)
        for field in reversed(",".join(query.get("order", [])).split(",")):
            name = field.strip(" +-")
            selection.require(name)
            if name:
                items.sort(key=lambda item: self._sort_key(item, name), reverse=field[0] == "-")
        asked = [min(int(limit), self.max_page_size) for limit in query.get("limit", [])]
        limit, offset = [*asked, PAGE_SIZE][0], int(query.get("offset", ["0"])[0])
        left_out = {
            name for item in items for name in self.heavy & item.keys() if not selection.has(name)
        }
        pagination = {"limit": limit, "offset": offset, "total": len(items)}
        return {
            "$meta": {
                "pagination": pagination,
                **({"omitted": sorted(left_out)} if left_out else {}),
            },
            "data": [selection.applied(item, left_out) for item in items[offset : offset + limit]],
        }

    def _sort_key(self, item: Item, field: str) -> tuple[bool, Any]:
        value = value_of(item, field)
        return value is not None, self.order_of(value) if isinstance(value, str) else value

    def _filtered(self, items: list[Item], query: Mapping[str, list[str]]) -> list[Item]:
        for expression in _filters(query):
            for operator, field in fields_of(expression):
                _Selection.of(query).require(field)
                if (operator, field) == ("gt", "id"):
                    self._require_greater_than()
            key = self.order_of
            if self.greater_than == "ignored" and ("gt", "id") in fields_of(expression):
                # Every id is greater than every other.
                key = _Greatest
            try:
                is_so = condition_of(expression, key)
            except RqlError as error:
                raise _error(400, "Bad Request", f"Not understood: {error}.") from error
            items = [item for item in items if is_so(item)]
        return items

    def _require_greater_than(self) -> None:
        if self.greater_than == "refused":
            raise _error(400, "Bad Request", "gt is not supported.")
        if self.greater_than == "fails":
            raise _error(500, "Internal Server Error", "gt is not defined on text.")


class _Greatest(str):
    """A text that is greater than any other."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _Selection:
    """What of an item is asked for: `name,product` alone, or all `+lines,-product`."""

    alone: frozenset[str]
    more: frozenset[str]
    less: frozenset[str]

    @classmethod
    def of(cls, query: Mapping[str, list[str]]) -> "_Selection":
        # A plus that is not encoded reads as a blank.
        fields = [each for each in ",".join(query.get("select", [])).split(",") if each]
        more = frozenset(each[1:] for each in fields if each[0] in " +")
        less = frozenset(each[1:] for each in fields if each[0] == "-")
        alone = frozenset(each for each in fields if each[0] not in " +-")
        return cls(alone, more, less)

    def has(self, field: str) -> bool:
        """Whether a field is asked for by its name."""
        return any(each.split(".")[0] == field for each in self.alone | self.more)

    def require(self, field: str) -> None:
        """Return if what is filtered or ordered by may be.

        Raises:
            ApiError: it is of the audit, which has to be selected for that.
        """
        if field.startswith("audit.") and not self.has("audit"):
            raise _error(400, "Bad Request", f"{field} needs select=audit.")

    def applied(self, item: Item, left_out: Iterable[str] = ()) -> Item:
        """Return what is asked for of an item."""
        kept = {name.split(".")[0] for name in self.alone}
        chosen = {
            name: deepcopy(value)
            for name, value in item.items()
            if name not in left_out and (not kept or name == "id" or name in kept)
        }
        for field in self.less:
            *parents, last = field.split(".")
            inner = value_of(chosen, ".".join(parents)) if parents else chosen
            for each in inner if isinstance(inner, list) else [inner]:
                if isinstance(each, dict):
                    each.pop(last, None)
        return chosen


def _filters(query: Mapping[str, list[str]]) -> list[str]:
    """Return the parts of a query string that are no parameters: they filter."""
    rest = {name: values for name, values in query.items() if name not in _PARAMETERS}
    return [
        f"{name}={value}" if value else name for name, values in rest.items() for value in values
    ]


def _is_action(path: tuple[str, ...]) -> bool:
    """Whether a path ends with a verb: `process`, and not with the plural that a collection is."""
    return len(path) > 2 and (not path[-1].endswith("s") or path[-1].endswith("ss"))


def _merge(item: Item, changes: Item) -> Item:
    """Put changes into an item, field by field in what is nested, and return it."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(item.get(name), dict):
            _merge(item[name], value)
        else:
            item[name] = value
    return item


def _error(
    status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> ApiError:
    body = {"status": str(status), "title": title, "detail": detail, "traceId": "trace-1"}
    return ApiError(Reply.of(status, body, headers))
