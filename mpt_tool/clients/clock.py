"""How far the clock of this machine is from that of a service, as its replies tell."""

import time
from email.utils import parsedate_to_datetime

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.wording import duration

_NAME = "clock"
# A reply tells whole seconds, and takes a while to arrive.
_EXACT_SECONDS = 5
_TOLERABLE_SECONDS = 300
_ADVICE = (
    "Set the clock of this machine, by NTP say: the times in records and in the history are off by"
    " as much, and encrypted connections fail if it is too much"
)


def clock_check(date: str, service: str) -> Check:
    """Return what is to be thought of the clock, given a reply's header `Date` at its arrival."""
    try:
        moment = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return doubtful(_NAME, f"{service} does not tell the time", "Compare it by hand")
    ahead = time.time() - moment
    value = f"{duration(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} that of {service}"
    if abs(ahead) <= _EXACT_SECONDS:
        return right(_NAME, f"as that of {service}")
    return (doubtful if abs(ahead) <= _TOLERABLE_SECONDS else wrong)(_NAME, value, _ADVICE)
