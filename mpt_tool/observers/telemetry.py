"""Traces a run by OpenTelemetry: a span for each of its phases, and figures beside them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from mpt_tool.enums import OccasionEnum
from mpt_tool.errors import MptToolError, message_of
from mpt_tool.observers.endings import occasion_of
from mpt_tool.observers.figures import Attributes, Figures
from mpt_tool.observers.whereabouts import Whereabouts
from mpt_tool.process.item import name_in_hand
from mpt_tool.process.tracebacks import script_traceback
from mpt_tool.redaction import Redact
from mpt_tool.reporting import (
    Answered,
    Event,
    FoundDead,
    ItemTried,
    Locking,
    Migrating,
    Phase,
    Preparing,
    Run,
    Running,
    Saving,
    Sending,
    Verifying,
)
from mpt_tool.wording import shortened

_LONGEST_MESSAGE = 1_000
_LONGEST_TRACEBACK = 10_000
_SHORTEST_WAIT = 0.001
# Attributes whose values nobody else writes.
_OURS = frozenset({"http.request.method", "mpt_tool.service", "mpt_tool.run.id"})

# As of the attempts in the history.
_OUTCOMES = {
    OccasionEnum.FINISHED: "applied",
    OccasionEnum.STOPPED: "stopped",
    OccasionEnum.FAILED: "failed",
}


class Telemetry:
    """Tells OpenTelemetry of a run.

    Args:
        slow_seconds: from how many seconds on an item is slow.
        where: where the run goes on.
        redact: takes secrets out of all that is told.
        flush: begins to export what is left, at the end of the run.
    """

    def __init__(
        self, slow_seconds: float, where: Whereabouts, redact: Redact, flush: Callable[[], None]
    ) -> None:
        self.slow_seconds: float | None = slow_seconds
        self._where = where
        self._redact = redact
        self._flush = flush
        self._tracer = trace.get_tracer("mpt_tool", where.origin.tool_version)
        self._figures = Figures()
        # The span of the innermost phase, for threads that do not know which one goes on.
        self._innermost: Span | None = None

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Have a span for the phase, the parent of all that comes in it."""
        began = time.monotonic()
        # What has no targets has a span as a migration already.
        is_spanned = not (isinstance(phase, Running) and not phase.target)
        try:
            with self._counting(phase), self._span(phase) if is_spanned else nullcontext():
                yield
        finally:
            if isinstance(phase, Locking):
                self._figures.note_lock_wait(time.monotonic() - began)
            elif isinstance(phase, Run):
                self._flush()

    def note(self, event: Event) -> None:
        """Add what happened to the span that goes on; an item has a span of its own."""
        match event:
            case Answered(sending, status):
                trace.get_current_span().set_attribute("http.response.status_code", status)
                if status >= 400:
                    trace.get_current_span().set_status(Status(StatusCode.ERROR))
                if status == 429:
                    self._figures.note_refusal(sending.service)
            case ItemTried(name, seconds, error):
                self._span_of_item(name, seconds, error)
            case FoundDead(name):
                attributes = {"mpt_tool.migration.name": self._redact(name)}
                trace.get_current_span().add_event("found dead", attributes)

    @contextmanager
    def _span(self, phase: Phase) -> Iterator[None]:
        name, attributes = self._described(phase)
        kind = SpanKind.CLIENT if isinstance(phase, Sending) else SpanKind.INTERNAL
        span = self._tracer.start_span(name, self._parent(), kind, self._redacted(attributes))
        token = context.attach(trace.set_span_in_context(span))
        outer = self._innermost
        # A request or a checkpoint is of its own thread alone.
        is_of_all = not isinstance(phase, Sending | Saving)
        if is_of_all:
            self._innermost = span
        try:
            yield
        except BaseException as error:
            self._note_error(span, error)
            raise
        finally:
            if is_of_all:
                self._innermost = outer
            context.detach(token)
            span.end()

    @contextmanager
    def _counting(self, phase: Phase) -> Iterator[None]:
        """Count what the phase comes to."""
        match phase:
            case Running():
                attributes = self._redacted(_of_migration(phase))
                with self._figures.counting(phase.tally, attributes):
                    yield
            case Migrating():
                error = None
                try:
                    yield
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    attributes = self._redacted(_of_migration(phase))
                    self._figures.note_end(_OUTCOMES[occasion_of(error)], attributes)
            case Sending() if phase.waited > _SHORTEST_WAIT:
                self._figures.note_wait(phase.service, phase.waited)
                yield
            case _:
                yield

    def _described(self, phase: Phase) -> tuple[str, Attributes]:
        """Return the name and the attributes of a span."""
        match phase:
            case Run(command):
                origin = self._where.origin
                return command, {"mpt_tool.run.id": origin.run_id, "process.pid": origin.process}
            case Locking():
                return "lock", {}
            case Migrating():
                numbers = {"mpt_tool.number": phase.number, "mpt_tool.total": phase.total}
                return f"migration {phase.migration_id}", {**_of_migration(phase), **numbers}
            case Running():
                return f"target {phase.target}", _of_migration(phase)
            case Preparing():
                return "prepare", {}
            case Verifying(name):
                return "verify", {"mpt_tool.migration.name": name} if name else {}
            case Saving(handled):
                return "checkpoint", {"mpt_tool.items.handled": handled}
            case Sending():
                return phase.method, _of_request(phase)

    def _parent(self) -> Context | None:
        """Return where a span belongs: to the one of this thread, or else to the innermost."""
        if self._innermost is None or trace.get_current_span().get_span_context().is_valid:
            return None
        return trace.set_span_in_context(self._innermost)

    def _span_of_item(self, name: str, seconds: float, error: BaseException | None) -> None:
        """Tell of an item, which has ended by now."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            "item",
            self._parent(),
            attributes={"mpt_tool.item": self._redact(name), "mpt_tool.item.slow": error is None},
            start_time=ended - int(seconds * 1e9),
        )
        if error is not None:
            self._note_error(span, error)
        span.end(ended)

    def _note_error(self, span: Span, error: BaseException) -> None:
        """Note that what a span stands for ended with an error, or was stopped."""
        occasion = occasion_of(error)
        span.set_attribute("mpt_tool.outcome", _OUTCOMES[occasion])
        message = shortened(self._redact(message_of(error)), _LONGEST_MESSAGE)
        if occasion is OccasionEnum.STOPPED:
            span.add_event("stopped", {"mpt_tool.reason": message})
            return
        # Of the author's, where there is one: what ours is called tells nothing.
        cause = (error.__cause__ if isinstance(error, MptToolError) else None) or error
        kind = type(cause).__qualname__
        told = shortened(self._redact(script_traceback(cause)), _LONGEST_TRACEBACK)
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, message))
        described = {"exception.type": kind, "exception.message": message}
        span.add_event("exception", {**described, "exception.stacktrace": told})

    def _redacted(self, attributes: Attributes) -> Attributes:
        return {
            name: self._redact(value) if isinstance(value, str) and name not in _OURS else value
            for name, value in attributes.items()
        }


def _of_migration(phase: Migrating | Running) -> Attributes:
    attributes = {"mpt_tool.migration.id": phase.migration_id}
    if isinstance(phase, Migrating):
        return {**attributes, "mpt_tool.migration.type": phase.type}
    return {**attributes, "mpt_tool.target": phase.target} if phase.target else attributes


def _of_request(phase: Sending) -> Attributes:
    """Return the attributes of a request; its query, which may tell anything, is left out."""
    attributes: Attributes = {
        "mpt_tool.service": phase.service,
        "http.request.method": phase.method,
        "url.full": phase.url.partition("?")[0],
        "http.request.resend_count": phase.number - 1,
        "mpt_tool.waited": phase.waited,
    }
    item = name_in_hand()
    return {**attributes, "mpt_tool.item": item} if item else attributes
