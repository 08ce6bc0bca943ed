"""Whether an object that a service does not have would be in a list that is asked for by a filter.

Understood are the filters that tell things apart by their values: equal, not equal, one of several,
and, or, not. What else one may ask cannot be told here: the object is then taken not to be in it.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

_RQL = re.compile(r"'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\"|(?P<mark>[(),])|(?P<bare>[^(),'\"]+)")
_IS_RQL = re.compile(r"[a-z]+\(")
_NO_FILTERS = frozenset({"limit", "offset", "order", "select"})
_FORMULA = re.compile(
    r"\{(?P<field>(?:[^}\\]|\\.)*)\}|'(?P<one>(?:[^'\\]|\\.)*)'|\"(?P<two>(?:[^\"\\]|\\.)*)\""
    r"|(?P<mark>!=|[(),=])|(?P<bare>[^\s{}'\"(),=!]+)"
)
_ESCAPE = re.compile(r"\\(.)")
_OPERATORS = {"=": "eq", "!=": "ne"}
_COMPARISONS = frozenset({"eq", "ne", "in", "out"})


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of a filter: `eq(...)`, `and(...)`; of one value: `value(...)`, `field(...)`.

    What has no name is a list of values.
    """

    name: str
    parts: tuple["_Term | str", ...] = ()


type _Tokens = deque[tuple[str, str]]


class _UnknownError(Exception):
    """A filter asks what cannot be told here."""


def fits_query(item: Mapping[str, Any], query: str) -> bool:
    """Return whether an object would be in the list that a query of the platform asks for."""

    def look_up(name: str) -> Any:
        value: Any = item
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    parts = [unquote_plus(part) for part in query.split("&") if part]
    return all(_fits(_rql(part), look_up) for part in parts)


def fits_formula(record: Mapping[str, Any], formula: str) -> bool:
    """Return whether a record would be in the list that a formula of Airtable asks for."""
    fields = record["fields"] | {"RECORD_ID()": record["id"]}
    return _fits(lambda: _expression(_tokens(_FORMULA, formula)), fields.get)


def _fits(parse: Callable[[], _Term], look_up: Callable[[str], Any]) -> bool:
    try:
        return _holds(parse(), look_up)
    except (_UnknownError, IndexError):
        return False


def _rql(part: str) -> Callable[[], _Term]:
    """Return a callable that parses a part of a query: RQL, or a parameter."""
    name, _, value = part.partition("=")
    if _IS_RQL.match(part):
        return lambda: _call(_tokens(_RQL, part))
    if name in _NO_FILTERS:
        return lambda: _Term("and")
    return lambda: _Term("eq", (_Term("field", (name,)), _Term("value", (value,))))


def _tokens(pattern: re.Pattern[str], text: str) -> _Tokens:
    return deque(
        (str(each.lastgroup), each[str(each.lastgroup)]) for each in pattern.finditer(text)
    )


def _call(tokens: _Tokens) -> _Term:
    """Parse RQL: a call or a value."""
    kind, text = ("bare", "") if tokens[0] == ("mark", "(") else tokens.popleft()
    if kind != "bare" or not (tokens and tokens[0] == ("mark", "(")):
        return _Term("value", (text,))
    parts = _parts(tokens, _call)
    if text in _COMPARISONS:
        parts = (_Term("field", parts[0].parts), *parts[1:])
    return _Term(text, parts)


def _expression(tokens: _Tokens) -> _Term:
    """Parse a formula: a comparison, a call or a value."""
    left = _operand(tokens)
    if tokens and tokens[0][0] == "mark" and tokens[0][1] in _OPERATORS:
        return _Term(_OPERATORS[tokens.popleft()[1]], (left, _operand(tokens)))
    return left


def _operand(tokens: _Tokens) -> _Term:
    kind, text = tokens.popleft()
    if kind == "bare" and tokens and tokens[0] == ("mark", "("):
        parts = _parts(tokens, _expression)
        is_field = text.upper() == "RECORD_ID"
        return _Term("field", ("RECORD_ID()",)) if is_field else _Term(text.lower(), parts)
    unescaped = text if kind == "bare" else _ESCAPE.sub(r"\1", text)
    return _Term("field" if kind == "field" else "value", (unescaped,))


def _parts(tokens: _Tokens, parse: Callable[[_Tokens], _Term]) -> tuple[_Term, ...]:
    """Parse what is in parentheses."""
    tokens.popleft()
    parts = []
    while tokens[0] != ("mark", ")"):
        if tokens[0] == ("mark", ","):
            tokens.popleft()
        else:
            parts.append(parse(tokens))
    tokens.popleft()
    return tuple(parts)


def _holds(term: _Term, look_up: Callable[[str], Any]) -> bool:
    """Return whether a term is true of what the fields are.

    Raises:
        _UnknownError: that cannot be told.
    """
    match term:
        case _Term("and", parts):
            return all(_holds(part, look_up) for part in parts if isinstance(part, _Term))
        case _Term("or", parts):
            return any(_holds(part, look_up) for part in parts if isinstance(part, _Term))
        case _Term("not", (_Term() as part,)):
            return not _holds(part, look_up)
        case _Term("eq" | "ne" as name, (one, other)):
            return (_value(one, look_up) == _value(other, look_up)) is (name == "eq")
        case _Term("in" | "out" as name, (one, _Term("", those))):
            values = [_value(each, look_up) for each in those]
            return (_value(one, look_up) in values) is (name == "in")
    raise _UnknownError


def _value(part: _Term | str, look_up: Callable[[str], Any]) -> str:
    match part:
        case _Term("field", (str(name),)):
            return _text(look_up(name))
        case _Term("value", (str(value),)):
            return value
        case _Term("null" | "empty" | "blank", ()):
            return ""
        case _Term("true" | "false" as truth, ()):
            return truth
    raise _UnknownError


def _text(value: object) -> str:
    """Return a value as a filter writes it; what is not there is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        raise _UnknownError
    return "" if value is None else str(value)
