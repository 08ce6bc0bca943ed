"""Keeps tokens, keys and passwords out of everything that the tool writes."""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from json import dumps
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SHORTEST = 6
# Of a long secret so much at its beginning or end gives it away: what cuts it leaves more.
_LONGEST_PIECE = 12

_WORDS = "(?:TOKEN|KEYS?|SECRETS?|PASS|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|_PWD|_PAT)"
_SECRET_NAME = re.compile(rf"{_WORDS}\d*(?:_|$)", re.IGNORECASE)
# A variable that says where a secret is, or what it is called, holds none.
_ABOUT_A_SECRET = re.compile(
    r"_(?:ID|NAME|FILE|PATH|DIR|URL|URI|TYPE|TTL|SECONDS|LENGTH|SIZE|ALGORITHM)$", re.IGNORECASE
)
_IN_CONNECTION_STRING = re.compile(
    rf"(?:^|[;&?\s])[\w ]{{0,40}}(?:{_WORDS}|PWD|SIG|SIGNATURE)\s*=\s*([^\s;&]+)", re.IGNORECASE
)
# Variables of addresses that are secrets as they stand: whoever has one may write there.
_SECRET_ADDRESSES = re.compile(r"(?:^|_)NOTIFY_(?:URLS|PING_URL)$", re.IGNORECASE)
# What of an address is long, or holds a digit, and is no host, may be the key to it.
_KEY_IN_ADDRESS = re.compile(r"(?<![^/?&=@:#])(?=[^/?&=@:#.]*\d|[^/?&=@:#.]{16})[^/?&=@:#.]{6,}")
# Variables of headers, as NAME=VALUE,NAME=VALUE with both quoted as in an address.
_HEADERS = re.compile(r"^OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS$")
# Up to the last @: a password may hold one, and a slash.
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):(\S+)(?=@)")
# Where the user is a key: https://KEY@sentry.example.com/1
_URL_KEY = re.compile(r"(?<=http://|ttps://)([^\s/:@]{6,})(?=@)")
# A long word with a digit: in a sentence something shorter follows these.
_AUTHORIZATION = re.compile(r"\b(Bearer|Basic)(\s+)(?=\S*\d)[\w.~+/=-]{16,}", re.IGNORECASE)
_ENCODED = re.compile(r"%[0-9A-F]{2}")
# Not by the module of that name, which costs each start more than all else here.
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_PLACE = re.compile(r"^/|/$|://|//:")
_REST = r"[^\s'\"]*"

Redact = Callable[[str], str]


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    """Return the values of variables named like secrets, and the secrets within other values."""
    named = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and not _ABOUT_A_SECRET.search(name)
    }
    addresses = (value for name, value in environment.items() if _SECRET_ADDRESSES.search(name))
    named.update(chain.from_iterable(map(_in_addresses, addresses)))
    headers = (value for name, value in environment.items() if _HEADERS.search(name))
    named.update(chain.from_iterable(map(_in_headers, headers)))
    within = (_URL_PASSWORD, 2), (_URL_KEY, 1), (_IN_CONNECTION_STRING, 1)
    return named | {
        match[group]
        for value in environment.values()
        for pattern, group in within
        for match in pattern.finditer(value)
    }


def _in_addresses(value: str) -> Iterator[str]:
    """Yield the addresses of a list, and what of each may be the key to it."""
    for address in value.replace(",", " ").split():
        _, _, rest = address.partition("://")
        _, slash, path = rest.partition("/")
        yield address
        if path:
            yield slash + path
        yield from _KEY_IN_ADDRESS.findall(rest)


def _in_headers(value: str) -> Iterator[str]:
    """Yield the values of headers, and of each the last word, after the scheme."""
    for header in value.split(","):
        _, _, said = header.partition("=")
        yield said
        yield from unquote(said).split()[-1:]


def make_redact(secrets: Iterable[str]) -> Redact:
    """Return a function that hides the secrets, and what looks like one, in a text.

    A secret shorter than 6 characters is left: hiding it would garble every message.
    """
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    long_enough = [spelling for spelling in spellings if len(spelling) >= _SHORTEST]
    whole = _any_of(long_enough)
    starts = _any_of(map(_piece, long_enough), and_after=_REST)
    # Looked for backwards: from there on the rest of a word is before it.
    ends = _any_of((_piece(spelling[::-1]) for spelling in long_enough), and_after=_REST)

    def redact(text: str) -> str:
        text = starts.sub(HIDDEN, whole.sub(HIDDEN, text))
        text = ends.sub(HIDDEN, text[::-1])[::-1]
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}", text)
        text = _URL_KEY.sub(HIDDEN, text)
        return _AUTHORIZATION.sub(rf"\1\2{HIDDEN}", text)

    return redact


def _spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret may stand in a text."""
    bare = secret.strip()
    yield from (secret, bare, *bare.splitlines())
    yield from (repr(bare)[1:-1], dumps(bare)[1:-1], bare.translate(_HTML), unquote(bare))
    # A variable need not be UTF-8.
    sent = bare.encode(errors="replace")
    for encoded in (quote(sent), quote(sent, safe=""), quote_plus(sent)):
        yield from (encoded, _ENCODED.sub(lambda match: match[0].lower(), encoded))
    for encode in (b64encode, urlsafe_b64encode):
        # Within something longer it reads in three ways; letters that it shares with that are left.
        for before in range(3):
            first, end = (8 * before + 5) // 6, 8 * (before + len(sent)) // 6
            yield encode(bytes(before) + sent).decode()[first:end]


def _piece(spelling: str) -> str:
    """Return the beginning of a secret that gives it away where the rest is cut; or nothing."""
    size = min(_LONGEST_PIECE, len(spelling) // 2)
    # Many begin as the address or the folder of a secret does.
    return "" if size < _SHORTEST or _PLACE.search(spelling) else spelling[:size]


def _any_of(texts: Iterable[str], and_after: str = "") -> re.Pattern[str]:
    """Return a pattern for each of the texts, the longest first, and for what may come after it."""
    longest_first = sorted(filter(None, set(texts)), key=len, reverse=True)
    # Without any it matches nothing.
    return re.compile(f"(?:{'|'.join(map(re.escape, longest_first)) or '(?!)'}){and_after}")
