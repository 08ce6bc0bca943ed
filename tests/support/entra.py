"""What gives a managed identity of Azure its tokens: the address that App Service has for it."""

import json
import time
from base64 import urlsafe_b64encode

from .http_server import LoopbackServer, Reply, Request


class IdentityEndpoint(LoopbackServer):
    """Gives tokens of a user, good for a second: the one of the `number` that it is told."""

    def __init__(self, user: str) -> None:
        super().__init__("", time.time)
        self._user = user
        self.number = 1
        self.tokens: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which Azure's libraries find it."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/token", "IDENTITY_HEADER": "header"}

    def token_of(self, number: int) -> str:
        """Return the token of a number."""
        claims = json.dumps({"upn": self._user, "number": number}).encode()
        return f"head.{urlsafe_b64encode(claims).decode().rstrip('=')}.signature"

    def handle(self, request: Request) -> Reply:
        """Return the token of the number."""
        self.tokens.append(self.token_of(self.number))
        ends = str(int(time.time()) + 1)
        told = {"access_token": self.tokens[-1], "expires_on": ends, "token_type": "Bearer"}
        return Reply.of(200, {**told, "resource": "database"})

    def unauthenticated(self) -> Reply:
        """Never: a header stands for the identity."""
        return Reply.of(401, {})
