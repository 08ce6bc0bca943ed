"""Tells where a script may fail as it was written for another release of the platform's client."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version

from mpt_tool.process.tracebacks import chain_of

_PACKAGE = "mpt_api_client"
# As `'BaseModel' object is not subscriptable`, or `... has no attribute 'get'`; and as json has it.
_TAKEN_FOR_A_DICTIONARY = re.compile(
    r"'(?P<kind>\w+)' object (is not|does not support|has no attribute '(get|keys|items|values)')"
    r"|Object of type (?P<written>\w+) is not JSON serializable"
)


def hint_at_release(error: BaseException) -> str | None:
    """Return what to do, if the script took something of the client for what it is not here.

    Looked at is all that led to the error, in each member of a group.
    """
    if not any(map(_is_of_release, _all_in(error))):
        return None
    return (
        f"If the script was written for another mpt-api-client than {version('mpt-api-client')},"
        " pin that one in the project, as mpt-api-client==5.4.*"
    )


def _all_in(error: BaseException) -> Iterator[BaseException]:
    for each in chain_of(error):
        yield each
        if isinstance(each, BaseExceptionGroup):
            for member in each.exceptions:
                yield from _all_in(member)


def _is_of_release(error: BaseException) -> bool:
    return _is_missing(error) or _is_no_dictionary(error)


def _is_missing(error: BaseException) -> bool:
    """Whether the release lacks what the script imports."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] == _PACKAGE


def _is_no_dictionary(error: BaseException) -> bool:
    """Whether an object of the client was used as the dictionary that it was up to 5.2."""
    if not isinstance(error, TypeError | AttributeError):
        return False
    found = _TAKEN_FOR_A_DICTIONARY.search(str(error))
    if not found:
        return False
    kind = found["kind"] or found["written"]
    return any(
        kind in vars(module) for name, module in sys.modules.items() if name.startswith(_PACKAGE)
    )
