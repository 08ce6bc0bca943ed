"""RQL as the platform understands it: an expression becomes a condition on an object."""

import operator
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

type Item = Mapping[str, Any]
type Condition = Callable[[Item], bool]
type Key = Callable[[Any], Any]

_TOKEN = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^'\"(),]+)|([(),])")
_ORDERS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_MANY = {"and": all, "or": any}
_LITERALS = {"true": True, "false": False}


class RqlError(Exception):
    """An expression cannot be understood."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A text in quotes. Words are without: names, and values that are no text."""

    text: str


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    operands: list[Any]


def condition_of(expression: str, key: Key = lambda value: value) -> Condition:
    """Return what an expression asks of an object.

    Args:
        expression: operators and their operands: `and(eq(status,'Active'),in(id,('A','B')))`.
        key: returns by what a text is compared with another, for `gt`, `ge`, `lt` and `le`.

    Raises:
        RqlError: it cannot be understood.
    """
    try:
        tokens = deque(_tokens(expression))
        is_so = _condition(_operand(tokens), key)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise RqlError(expression) from error
    if tokens:
        raise RqlError(expression)
    return is_so


def fields_of(expression: str) -> set[tuple[str, str]]:
    """Return each operator with the field that it is applied to, wherever in the expression."""
    return set(re.findall(r"(\w+)\(([\w.]+),", expression))


def value_of(item: Item, field: str) -> Any:
    """Return what a field holds, nested as in `product.id`; None if there is none."""
    value: Any = item
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _tokens(expression: str) -> Iterator[Any]:
    position = 0
    while position < len(expression):
        found = _TOKEN.match(expression, position)
        if found is None:
            raise RqlError(expression)
        position = found.end()
        single, double, word, mark = found.groups()
        quoted = double if single is None else single
        yield (word or mark) if quoted is None else _Text(quoted)


def _operand(tokens: deque[Any]) -> Any:
    token = tokens.popleft()
    if token == "(":
        return _operands(tokens)
    if isinstance(token, str) and tokens and tokens[0] == "(":
        tokens.popleft()
        return _Call(token, _operands(tokens))
    return token


def _operands(tokens: deque[Any]) -> list[Any]:
    operands = []
    while tokens[0] != ")":
        operands.append(_operand(tokens))
        if tokens[0] == ",":
            tokens.popleft()
    tokens.popleft()
    return operands


def _condition(call: _Call, key: Key) -> Condition:
    """Return the condition that an operator with its operands stands for."""
    name, operands = call.name, call.operands
    if name in _MANY:
        conditions = [_condition(each, key) for each in operands]
        return lambda item: _MANY[name](is_so(item) for is_so in conditions)
    if name == "not":
        (negated,) = (_condition(each, key) for each in operands)
        return lambda item: not negated(item)
    field, operand = operands
    if name == "any":
        nested = _condition(operand, key)
        return lambda item: any(nested(each) for each in value_of(item, field) or ())
    if name in {"in", "out"}:
        values = [_value(each) for each in operand]
        return lambda item: (value_of(item, field) in values) is (name == "in")
    if name in {"like", "ilike"}:
        pattern = ".*".join(re.escape(part) for part in operand.text.split("*"))
        like = re.compile(pattern, re.IGNORECASE if name == "ilike" else re.NOFLAG)
        return lambda item: like.fullmatch(str(value_of(item, field))) is not None
    value = _value(operand)
    if name in {"eq", "ne"}:
        return lambda item: (value_of(item, field) == value) is (name == "eq")
    return lambda item: _is_so(_ORDERS[name], value_of(item, field), value, key)


def _is_so(order: Callable[[Any, Any], bool], one: Any, other: Any, key: Key) -> bool:
    """Whether two values of the same kind are in this order."""
    if isinstance(one, str) and isinstance(other, str):
        return order(key(one), key(other))
    return _is_number(one) and _is_number(other) and order(one, other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _value(operand: Any) -> Any:
    """Return the value that an operand stands for; a text without quotes equals nothing."""
    match operand:
        case _Text(text):
            return text
        case _Call("null", []):
            return None
        case _Call("empty", []):
            return ""
        case "true" | "false":
            return _LITERALS[operand]
        case str():
            try:
                return float(operand)
            except ValueError:
                return object()
        case _:
            raise ValueError(operand)
