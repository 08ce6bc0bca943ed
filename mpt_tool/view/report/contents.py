"""What stands in a report, whichever its form: what needs attention, the runs, when they were."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.records import Attempt, ErrorReport, seconds_between
from mpt_tool.scripts.plan import Entry, of_targets
from mpt_tool.view.results import Report
from mpt_tool.wording import duration, in_outcomes

_HOUR, _DAY = 3600, 86400
# How many seconds a span of the activity may have, each with its name.
_UNITS = {
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    _HOUR: "hour",
    3 * _HOUR: "3 hours",
    6 * _HOUR: "6 hours",
    _DAY: "day",
    7 * _DAY: "week",
    30 * _DAY: "30 days",
    365 * _DAY: "year",
}
_FEWEST_SPANS, _MOST_SPANS = 24, 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Case:
    """A migration, or what it is made for, that failed, was stopped or runs; its last attempt."""

    entry: Entry
    attempt: Attempt | None

    @property
    def state(self) -> str:
        """Where it stands; of one that was left running, that it was found dead."""
        return OutcomeEnum.FOUND_DEAD if self.entry.is_left else self.entry.state


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: its attempts in the order in which they began."""

    attempts: Sequence[Attempt]

    @property
    def began(self) -> datetime | None:
        """When its first attempt began, as far as that is known."""
        return min(filter(None, map(moment_of, self.attempts)), default=None)

    @property
    def seconds(self) -> float:
        """How long it took from the beginning of the first attempt to the last known end."""
        ends = [each.ended_at for each in self.attempts if each.ended_at]
        return seconds_between(self.began, max(ends, default=None)) or 0.0

    @property
    def outcomes(self) -> str:
        """How many of its attempts ended how."""
        return ", ".join(f"{n:,} {name}" for name, n in outcomes_of(self.attempts).items())


@dataclass(frozen=True, slots=True)
class Activity:
    """How many attempts ended how, in equal spans of time that end now.

    `unit` is how many seconds a span has, `began` when the first begins.
    """

    began: datetime
    unit: int
    spans: Sequence[Counter[str]]

    @property
    def unit_name(self) -> str:
        """How long a span is, for a sentence."""
        return _UNITS.get(self.unit) or duration(self.unit)

    def start_of(self, number: int) -> datetime:
        """Return when the span of a number begins."""
        return self.began + timedelta(seconds=number * self.unit)


def headline(report: Report) -> str:
    """Return in one sentence how things stand."""
    if not report.entries:
        return "There are no migrations yet."
    counts = statuses_of(report.entries)
    parts = [
        f"{counts[status]:,} {verb}"
        for status, verb in (
            (MigrationStatusEnum.FAILED, "failed"),
            (OutcomeEnum.STOPPED, "stopped"),
            (MigrationStatusEnum.RUNNING, "running"),
            (MigrationStatusEnum.NOT_APPLIED, "not applied yet"),
        )
        if counts[status]
    ]
    total = f"{len(report.entries):,}"
    noun = "migration" if total == "1" else "migrations"
    return f"{', '.join(parts)}, of {total} {noun}." if parts else f"All applied: {total} {noun}."


def statuses_of(entries: Iterable[Entry]) -> Counter[str]:
    """Return how many migrations are in each status, in the order of the statuses."""
    counts = Counter(str(entry.state) for entry in entries)
    order = map(str, (*MigrationStatusEnum, OutcomeEnum.STOPPED))
    return Counter({each: counts[each] for each in order if counts[each]})


def outcomes_of(attempts: Iterable[Attempt]) -> Counter[str]:
    """Return how many attempts ended how, the most frequent first."""
    return Counter(dict(Counter(str(each.outcome) for each in attempts).most_common()))


def cases(report: Report) -> list[Case]:
    """Return what failed, was stopped or runs, with the last attempt at each."""
    last: dict[tuple[str, str], Attempt] = {}
    for attempt in report.attempts:
        last.setdefault((attempt.migration_id, attempt.target or ""), attempt)
    return [
        Case(each, last.get((each.migration_id, each.target)))
        for entry in report.entries
        for each in (list(of_targets(entry)) or [entry])
        if each.status in (MigrationStatusEnum.FAILED, MigrationStatusEnum.RUNNING)
    ]


def runs(attempts: Iterable[Attempt]) -> Iterator[Run]:
    """Yield the runs of attempts that come newest first, the newest run first."""
    for _, of_run in groupby(attempts, key=lambda attempt: attempt.run_id):
        yield Run(list(of_run)[::-1])


def chain(error: ErrorReport | None) -> list[ErrorReport]:
    """Return an error and what caused it, the root cause last."""
    errors = []
    while error:
        errors.append(error)
        error = error.cause
    return errors


def said(error: ErrorReport) -> str:
    """Return class and message, the class once."""
    return ": ".join(dict.fromkeys((error.kind, error.message)))


def made_by(attempt: Attempt) -> str:
    """Return who made an attempt, and where."""
    return "@".join(filter(None, (attempt.user, attempt.host)))


def last_note(attempt: Attempt) -> str:
    """Return what an attempt came to, in a line: its root cause, or the outcomes of its items."""
    *_, root = (None, *chain(attempt.error))
    return said(root) if root else in_outcomes(attempt.outcomes or {})


def moment_of(attempt: Attempt) -> datetime | None:
    """Return when an attempt began, or else when it ended."""
    return attempt.started_at or attempt.ended_at


def activity(attempts: Sequence[Attempt], now: datetime) -> Activity | None:
    """Return when attempts were made, up to now; None if there is none with a time."""
    moments = [(_seconds(moment), each) for each in attempts if (moment := moment_of(each))]
    if not moments:
        return None
    first = min(seconds for seconds, _ in moments)
    end = max(_seconds(now), *(seconds for seconds, _ in moments)) + 1
    lasted = end - first
    unit = next((u for u in _UNITS if lasted <= u * (_MOST_SPANS - 1)), lasted // (_MOST_SPANS - 1))
    count = min(max(_FEWEST_SPANS, end // unit - first // unit + 1), _MOST_SPANS)
    start = max((end // unit + 1 - count) * unit, _seconds(datetime.min.replace(tzinfo=UTC)))
    spans = [Counter[str]() for _ in range(count)]
    for seconds, attempt in moments:
        spans[min(max((seconds - start) // unit, 0), count - 1)][attempt.outcome] += 1
    return Activity(_EPOCH + timedelta(seconds=start), unit, spans)


def _seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)
