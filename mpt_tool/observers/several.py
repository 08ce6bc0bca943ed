"""Tells several reporters as if they were one."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from mpt_tool.process.log import get_log
from mpt_tool.reporting import Event, Phase, Reporter

log = get_log(__name__)

type _Begun = list[tuple[Reporter, ExitStack]]


class Several:
    """Tells several reporters; what one of them raises is no affair of the run or of the others."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters
        slow = [each.slow_seconds for each in reporters if each.slow_seconds is not None]
        self.slow_seconds: float | None = min(slow, default=None)
        self._told = set[type]()

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Have the phase go on for all of them."""
        begun: _Begun = []
        for each in self._reporters:
            with self._harmless(each):
                context = ExitStack()
                context.enter_context(each.during(phase))
                begun.append((each, context))
        try:
            yield
        except BaseException as error:
            self._end(begun, error)
            raise
        self._end(begun, None)

    def note(self, event: Event) -> None:
        """Tell all of them what happened."""
        for each in self._reporters:
            with self._harmless(each):
                each.note(event)

    def _end(self, begun: _Begun, error: BaseException | None) -> None:
        for each, context in reversed(begun):
            with self._harmless(each):
                told = (type(error), error, error.__traceback__) if error else (None, None, None)
                context.__exit__(*told)

    @contextmanager
    def _harmless(self, reporter: Reporter) -> Iterator[None]:
        """Log what is raised meanwhile, once for each kind of reporter."""
        try:
            yield
        except Exception as error:
            if type(reporter) not in self._told:
                self._told.add(type(reporter))
                name = type(reporter).__name__
                log.warning("%s failed, and the run goes on: %s", name, error, exc_info=error)
