"""Serves 5,000 agreements as the Marketplace Platform does, to this machine alone.

They are kept in memory: with each start none of them has a vendor id.
"""

import argparse
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

COLLECTION = "/public/v1/commerce/agreements"
HOW_MANY = 5_000
PAGE_SIZE = 100


class Marketplace(ThreadingHTTPServer):
    """The agreements by id, in the order of their ids."""

    daemon_threads = True

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.delay = delay
        ids = [f"AGR-0000-0000-{number:04}" for number in range(1, HOW_MANY + 1)]
        self._agreements: dict[str, dict[str, Any]] = {each: {"id": each} for each in ids}
        self._updated: set[str] = set()
        self._updates = 0
        self._lock = threading.Lock()

    def page(self, query: str) -> dict[str, Any]:
        """Return the agreements that a query asks for."""
        options = dict(parse_qsl(query))
        limit, offset = int(options.get("limit", PAGE_SIZE)), int(options.get("offset", 0))
        after = re.search(r"gt\(id,'?([\w-]+)", query)
        found = [each for key, each in self._agreements.items() if not after or key > after[1]]
        pagination = {"limit": limit, "offset": offset, "total": len(found)}
        return {"$meta": {"pagination": pagination}, "data": found[offset : offset + limit]}

    def update(self, agreement_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Change an agreement; print how many are changed, whenever these are 500 more."""
        with self._lock:
            agreement = self._agreements[agreement_id]
            agreement.update(fields)
            self._updates += 1
            is_new = agreement_id not in self._updated
            self._updated.add(agreement_id)
            if is_new and len(self._updated) % 500 == 0:
                print(f"{len(self._updated):,} agreements, {self._updates:,} updates", flush=True)
        return agreement


class Handler(BaseHTTPRequestHandler):
    """Answers what the migration asks for: a page of agreements, or an update of one."""

    server: Marketplace
    protocol_version = "HTTP/1.1"
    # A reply is one write: in two, a kept connection would wait for acknowledgements.
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer(self.server.page(unquote(urlsplit(self.path).query)))

    def do_PUT(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.server.delay)
        self._answer(self.server.update(self.path.removeprefix(f"{COLLECTION}/"), fields))

    def _answer(self, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *_: Any) -> None:
        """Print no line for each request."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8017, help="0 for any that is free")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that an update takes")
    options = parser.parse_args()
    with Marketplace(options.port, options.delay) as marketplace:
        address = f"http://127.0.0.1:{marketplace.server_port}"
        print(f"Serving {HOW_MANY:,} agreements at {address}", flush=True)
        try:
            marketplace.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")


if __name__ == "__main__":
    main()
