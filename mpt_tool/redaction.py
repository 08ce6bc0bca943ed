"""Keeps tokens, keys and passwords out of everything that the tool writes."""

import re
from collections.abc import Callable, Iterable, Mapping

HIDDEN = "***"
_SHORTEST = 6
_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)(?=@)")
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic|Token)(\s+)[\w.~+/=-]{6,}", re.IGNORECASE)

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
    longest_first = sorted((s for s in secrets if len(s) >= _SHORTEST), key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(text: str) -> str:
        if known:
            text = known.sub(HIDDEN, text)
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}", text)
        return _AUTHORIZATION.sub(rf"\1\2{HIDDEN}", text)

    return redact
