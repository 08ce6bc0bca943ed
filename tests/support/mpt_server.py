"""The part of the Marketplace Platform's API that serves agreements, in memory."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from .http_server import ApiError, LoopbackServer, Reply, Request

PAGE_SIZE = 100


class MPTServer(LoopbackServer):
    """Lists, reads and updates agreements for one token, as mpt-api-client 5.0 to 7.0 expects.

    Args:
        token: the only token that is let in.
        clock: returns the seconds since the epoch, for the log of requests.
    """

    def __init__(self, token: str = "mpt-token", *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(token, clock)
        self._agreements: dict[str, dict[str, Any]] = {}

    def add_agreement(self, agreement_id: str, **fields: Any) -> None:
        """Add an agreement, at the end of the list."""
        with self._lock:
            self._agreements[agreement_id] = {"id": agreement_id, **fields}

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
            case "GET", "public", "v1", "commerce", "agreements", agreement_id:
                return Reply.of(200, self._agreement(agreement_id))
            case "PUT", "public", "v1", "commerce", "agreements", agreement_id:
                agreement = self._agreement(agreement_id)
                agreement.update(request.body)
                return Reply.of(200, agreement)
            case _:
                raise _error(404, "Not Found", f"No resource at {request.path}.")

    def _page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        limit = int(query.get("limit", [str(PAGE_SIZE)])[0])
        offset = int(query.get("offset", ["0"])[0])
        agreements = list(self._agreements.values())
        pagination = {"limit": limit, "offset": offset, "total": len(agreements)}
        return {"$meta": {"pagination": pagination}, "data": agreements[offset : offset + limit]}

    def _agreement(self, agreement_id: str) -> dict[str, Any]:
        if agreement_id not in self._agreements:
            raise _error(404, "Not Found", f"No agreement {agreement_id}.")
        return self._agreements[agreement_id]


def _error(status: int, title: str, detail: str) -> ApiError:
    body = {"status": str(status), "title": title, "detail": detail, "traceId": "trace-1"}
    return ApiError(Reply.of(status, body))
