"""What `mpt-tool doctor` says of one thing: right, doubtful or wrong; and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mpt_tool.enums import VerdictEnum


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what was looked at: a setting by its variable, or a noun.
        verdict: what is to be thought of it.
        value: how it was found, without any secret.
        advice: what to do, unless it is right.
    """

    name: str
    verdict: VerdictEnum
    value: str
    advice: str = ""


@runtime_checkable
class Checked(Protocol):
    """What can tell of itself what is right and what is wrong: a store, if it likes to."""

    def checks(self) -> Iterator[Check]:
        """Yield what is right and what is wrong, each as soon as it is known.

        Nothing is written for it. Seconds after it began it is no longer listened to.
        """


def right(name: str, value: str) -> Check:
    """Return that something is as it should be."""
    return Check(name, VerdictEnum.RIGHT, value)


def doubtful(name: str, value: str, advice: str) -> Check:
    """Return that something may be meant or not, or could not be seen."""
    return Check(name, VerdictEnum.DOUBTFUL, value, advice)


def wrong(name: str, value: str, advice: str) -> Check:
    """Return that something keeps, or will keep, the tool from doing its work."""
    return Check(name, VerdictEnum.WRONG, value, advice)
