"""Notifies people of a run, by Apprise: at its beginning or end, or when it stands still.

A run **stalls** if it does not move for `NOTIFY_STALLED_SECONDS` (see `course`); that a run before
it has died in a migration is told as such, too. Of each occasion there is one message a run.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from mpt_tool.enums import OccasionEnum
from mpt_tool.observers.course import Course
from mpt_tool.observers.deliveries import Deliveries, UndeliveredError, UnusableError, result_within
from mpt_tool.observers.endings import occasion_of
from mpt_tool.observers.whereabouts import Whereabouts
from mpt_tool.process.signals import start_aside
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Event, FoundDead, Phase, Run, Silent
from mpt_tool.scripts.next_command import to_watch
from mpt_tool.settings import Settings
from mpt_tool.wording import duration, printable, shortened

# So often it is looked at while the time of a standstill passes.
_LOOKS = 20
_LONGEST_REASON = 1_000
# The store may be what has failed: then the message goes without.
_ADVICE_SECONDS = 2.0
_BETWEEN_URLS = re.compile(r"[\s,]+(?=[\w+.-]+://)")
# As Apprise calls them.
_KINDS = {
    OccasionEnum.STARTED: "info",
    OccasionEnum.FINISHED: "success",
    OccasionEnum.STOPPED: "warning",
    OccasionEnum.FAILED: "failure",
    OccasionEnum.STALLED: "warning",
}


class Notifier(Silent):
    """Notifies people.

    Args:
        settings: of what they are notified, and where they are.
        where: where the run goes on.
        redact: takes secrets out of what is told.
        advise: returns what to type next, after the run.
        deliveries: what sends messages.
    """

    def __init__(
        self,
        settings: Settings,
        where: Whereabouts,
        redact: Redact,
        advise: Callable[[], str],
        deliveries: Deliveries,
    ) -> None:
        assert settings.notify_urls
        self._urls = _BETWEEN_URLS.split(settings.notify_urls.get_secret_value())
        self._on = settings.notify_on
        self._stalled_seconds = settings.notify_stalled_seconds
        self._where = where
        self._redact = redact
        self._advise = advise
        self._deliveries = deliveries
        self._course = Course()
        self._command = ""
        self._has_told_of_death = False

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Follow the run, and tell of it as a whole."""
        with self._course.during(phase):
            if not isinstance(phase, Run):
                yield
                return
            self._command = phase.command
            self._tell(OccasionEnum.STARTED, "started")
            with self._watched_for_stall():
                error = None
                try:
                    yield
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    occasion = occasion_of(error)
                    self._tell(occasion, occasion, "" if error is None else str(error))

    def note(self, event: Event) -> None:
        """Follow the run, and tell if one before it has died."""
        self._course.note(event)
        if isinstance(event, FoundDead) and not self._has_told_of_death:
            self._has_told_of_death = True
            why = f"{event.name} began in an earlier run that died without a word: it runs again"
            self._tell(OccasionEnum.STALLED, "found a dead run", why)

    @contextmanager
    def _watched_for_stall(self) -> Iterator[None]:
        """Tell meanwhile of the first standstill."""
        if OccasionEnum.STALLED not in self._on:
            yield
            return
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), name="stall", daemon=True)
        try:
            start_aside(watcher)
            yield
        finally:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        limit = self._stalled_seconds
        while not ended.wait(limit / _LOOKS):
            if (seconds := self._course.standstill()) >= limit:
                waits_for = self._course.waits_for
                why = f"it has not moved for {duration(seconds)}"
                why += f", and waits for {waits_for}" if waits_for else ""
                self._tell(OccasionEnum.STALLED, "stalled", why)
                return

    def _tell(self, occasion: OccasionEnum, how: str, why: str = "") -> None:
        """Begin to notify people, if they are to be notified of that."""
        if occasion not in self._on:
            return
        title = f"{self._where.extension}: {self._command} {how}"
        lines = {"Why": shortened(self._redact(why), _LONGEST_REASON), "Where": str(self._where)}
        if occasion is not OccasionEnum.STARTED:
            lines["How far"] = str(self._course)
        goes_on = occasion in (OccasionEnum.STARTED, OccasionEnum.STALLED)
        advise = (lambda: str(to_watch("this run"))) if goes_on else self._advise

        def send(url: str) -> None:
            told = {**lines, "Next": result_within(_ADVICE_SECONDS, advise) or ""}
            body = "\n".join(
                f"{label}: {printable(self._redact(text))}" for label, text in told.items() if text
            )
            _send(url, printable(self._redact(title)), body, _KINDS[occasion])

        for number, url in enumerate(self._urls, start=1):
            of_several = f" to address {number} of {len(self._urls)}" if self._urls[1:] else ""
            self._deliveries.begin(f"the notification{of_several}", partial(send, url))


def unknown_addresses(urls: str) -> tuple[list[int], int]:
    """Return which of the addresses are none that Apprise knows, from 1 on, and how many all are.

    Needs Apprise.
    """
    from apprise import Apprise

    _listen_to_apprise()
    given = _BETWEEN_URLS.split(urls)
    unknown = [number for number, url in enumerate(given, start=1) if not Apprise().add(url)]
    return unknown, len(given)


class _LastWarning(logging.Handler):
    """Keeps what was warned of last: by a thread of Apprise's own, for all that it tells."""

    message = "the service did not take it"

    def emit(self, record: logging.LogRecord) -> None:
        self.message = record.getMessage()


def _listen_to_apprise() -> _LastWarning:
    """Have what it says of an address kept for the warning of a delivery, and written nowhere."""
    logger = logging.getLogger("apprise")
    last_warning = _LastWarning(logging.WARNING)
    logger.handlers, logger.propagate = [last_warning], False
    return last_warning


def _send(url: str, title: str, body: str, kind: str) -> None:
    """Send a message to one address.

    Raises:
        UndeliveredError: it was not taken.
        UnusableError: there is no service of such an address.
    """
    from apprise import Apprise

    last_warning = _listen_to_apprise()
    service = Apprise()
    if not service.add(url):
        raise UnusableError("NOTIFY_URLS: Apprise knows no service of such an address")
    if not service.notify(body, title, kind, body_format="text"):
        raise UndeliveredError(last_warning.message)
