"""The part of the Marketplace Platform's API that serves agreements, in memory."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, Literal

from .http_server import ApiError, LoopbackServer, Reply, Request

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

# The RQL that is understood here. Newer clients quote values, older ones do not.
_CONDITION = re.compile(r"(eq|gt)\((\w+),(['\"]?)([^'\"()]*)\3\)")
_FILTER = re.compile(r"(and\()?((eq|gt)\(\w+,[^()]*\),?)+(?(1)\))")


class MPTServer(LoopbackServer):
    """Lists, reads, creates and updates agreements for one token, as mpt-api-client 5.0 to 7 asks.

    A list is ordered by `order=id` or `order=-id`, else as the agreements were added, and filtered
    by `eq` and `gt`, also several of them in one `and`. Other filters are refused with 400. A page
    has `max_page_size` items at most, however many are asked for.

    Args:
        token: the only token that is let in.
        clock: returns the seconds since the epoch, for the log of requests.
        greater_than: whether `gt` is supported, refused with 400, fails with 500, or is ignored.
            May be set later.
    """

    def __init__(
        self,
        token: str = "mpt-token",
        *,
        clock: Callable[[], float] = time.time,
        greater_than: Literal["supported", "refused", "fails", "ignored"] = "supported",
    ) -> None:
        super().__init__(token, clock)
        self.greater_than = greater_than
        self.max_page_size = MAX_PAGE_SIZE
        self.order_of: Callable[[str], Any] = str
        self._agreements: dict[str, dict[str, Any]] = {}

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a project that uses this platform."""
        return {"MPT_API_BASE_URL": self.url, "MPT_API_TOKEN": self.token}

    def add_agreement(self, agreement_id: str, **fields: Any) -> None:
        """Add an agreement, at the end of the list."""
        with self._lock:
            self._agreements[agreement_id] = {"id": agreement_id, **fields}

    def remove_agreement(self, agreement_id: str) -> None:
        """Remove an agreement."""
        with self._lock:
            del self._agreements[agreement_id]

    def agreements(self) -> list[dict[str, Any]]:
        """Return all agreements in the order in which they were added."""
        with self._lock:
            return deepcopy(list(self._agreements.values()))

    def unauthenticated(self) -> Reply:
        return _error(401, "Unauthorized", "The token is missing or not valid.").reply

    def handle(self, request: Request) -> Reply:
        match request.method, *request.segments:
            case "GET", "public", "v1", "commerce", "agreements":
                return Reply.of(200, self._page(request.query))
            case "POST", "public", "v1", "commerce", "agreements":
                self._agreements[request.body["id"]] = request.body
                return Reply.of(201, request.body)
            case "GET", "public", "v1", "commerce", "agreements", agreement_id:
                return Reply.of(200, self._agreement(agreement_id))
            case "PUT", "public", "v1", "commerce", "agreements", agreement_id:
                agreement = self._agreement(agreement_id)
                agreement.update(request.body)
                return Reply.of(200, agreement)
            case _:
                raise _error(404, "Not Found", f"No resource at {request.path}.")

    def _page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        limit = min(int(query.get("limit", [str(PAGE_SIZE)])[0]), self.max_page_size)
        offset = int(query.get("offset", ["0"])[0])
        # A filter is a part of the query string that has no name.
        filters = [name for name, values in query.items() if values == [""]]
        agreements = self._filtered(filters)
        match query.get("order"):
            case None:
                pass
            case ["id" | "-id" as order]:
                agreements.sort(
                    key=lambda agreement: self.order_of(agreement["id"]), reverse=order == "-id"
                )
            case order:
                raise _error(400, "Bad Request", f"Not supported here: order {order}.")
        pagination = {"limit": limit, "offset": offset, "total": len(agreements)}
        return {"$meta": {"pagination": pagination}, "data": agreements[offset : offset + limit]}

    def _filtered(self, filters: Iterable[str]) -> list[dict[str, Any]]:
        agreements = list(self._agreements.values())
        for each in filters:
            if not _FILTER.fullmatch(each):
                raise _error(400, "Bad Request", f"Not supported here: {each}.")
            for operator, name, _, value in _CONDITION.findall(each):
                if operator == "eq":
                    agreements = [known for known in agreements if str(known.get(name)) == value]
                elif self.greater_than == "supported":
                    agreements = [
                        known
                        for known in agreements
                        if self.order_of(str(known.get(name))) > self.order_of(value)
                    ]
                elif self.greater_than == "refused":
                    raise _error(400, "Bad Request", "gt is not supported.")
                elif self.greater_than == "fails":
                    raise _error(500, "Internal Server Error", "gt is not defined on text.")
        return agreements

    def _agreement(self, agreement_id: str) -> dict[str, Any]:
        if agreement_id not in self._agreements:
            raise _error(404, "Not Found", f"No agreement {agreement_id}.")
        return self._agreements[agreement_id]


def _error(status: int, title: str, detail: str) -> ApiError:
    body = {"status": str(status), "title": title, "detail": detail, "traceId": "trace-1"}
    return ApiError(Reply.of(status, body))
