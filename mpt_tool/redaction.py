"""Keeps tokens, keys and passwords out of everything that the tool writes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from json import dumps
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SHORTEST = 6
_SECRET_NAME = re.compile(
    r"(TOKEN|KEY|SECRET|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS|_PWD|_PAT)$", re.IGNORECASE
)
# Up to the last @: a password may hold one, and a slash.
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):(\S+)(?=@)")
# A long word with a digit: in a sentence something shorter follows these.
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic)(\s+)(?=\S*\d)[\w.~+/=-]{16,}", re.IGNORECASE)

Redact = Callable[[str], str]


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """Return the values of variables named like secrets, and the passwords in addresses."""
    named = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    in_addresses = {
        match[2] for value in environment.values() for match in _URL_PASSWORD.finditer(value)
    }
    return named | in_addresses


def make_redact(secrets: Iterable[str]) -> Redact:
    """Return a function that hides the secrets, and what looks like one, in a text.

    A secret shorter than 6 characters is left: hiding it would garble every message.
    """
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    long_enough = (spelling for spelling in spellings if len(spelling) >= _SHORTEST)
    longest_first = sorted(long_enough, key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(text: str) -> str:
        if known:
            text = known.sub(HIDDEN, text)
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}", text)
        return _AUTHORIZATION.sub(rf"\1\2{HIDDEN}", text)

    return redact


def _spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret may stand in a text."""
    bare = secret.strip()
    yield from (secret, bare, *bare.splitlines())
    yield from (repr(bare)[1:-1], dumps(bare)[1:-1])
    # A variable need not be UTF-8.
    sendable = bare.encode(errors="replace").decode()
    yield from (quote(sendable), quote(sendable, safe=""), quote_plus(sendable), unquote(bare))
