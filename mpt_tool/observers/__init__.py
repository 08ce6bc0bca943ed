"""Tells others of a run: telemetry, notifications and pings, beside what shows it here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from mpt_tool.observers.deliveries import Deliveries
from mpt_tool.observers.several import Several
from mpt_tool.observers.whereabouts import Whereabouts
from mpt_tool.process.log import get_log
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Reporter, Run, told_to
from mpt_tool.settings import Settings

_SIGNALS = ("TRACES", "METRICS")

log = get_log(__name__)


@contextmanager
def observing(
    run: Run,
    shown: Reporter,
    settings: Settings,
    environment: Mapping[str, str],
    where: Whereabouts,
    redact: Redact,
    advise: Callable[[], str],
) -> Iterator[Reporter]:
    """Yield the reporter to tell of a run, which is over when the context ends.

    Whatever becomes of the others whom it tells, the run is what it would be without them. At its
    end they are waited for, a few seconds at most. Of one that just looks there is telemetry alone.

    Args:
        run: what is to be told.
        shown: what shows it here.
        settings: who else is to be told.
        environment: the variables of the process, those of OpenTelemetry among them.
        where: where it runs.
        redact: takes secrets out of what is told.
        advise: returns what to type next, after the run; reads the store, and may be called in any
            thread.
    """
    with Deliveries() as deliveries:
        others: list[Reporter] = []
        if not _is_disabled(environment) and (settings.telemetry or signals_in(environment)):
            others += _telemetry(settings, signals_in(environment), where, redact, deliveries)
        if settings.notify_urls and not run.just_looks and _can_notify():
            from mpt_tool.observers.notifications import Notifier

            others.append(Notifier(settings, where, redact, advise, deliveries))
        if settings.notify_ping_url and not run.just_looks:
            from mpt_tool.observers.pings import Pinger

            url = settings.notify_ping_url.get_secret_value()
            others.append(Pinger(url, where, redact, deliveries))
        reporter = Several([shown, *others]) if others else shown
        with told_to(reporter), reporter.during(run):
            yield reporter


def signals_in(environment: Mapping[str, str]) -> Sequence[str]:
    """Return which of TRACES and METRICS the variables of OpenTelemetry say to export.

    That is each that has an exporter, or an address to go to, unless its exporter is `none`.
    """
    return [each for each in _SIGNALS if _is_exported(each, environment)]


def _is_exported(signal: str, environment: Mapping[str, str]) -> bool:
    if exporter := environment.get(f"OTEL_{signal}_EXPORTER", "").strip():
        return exporter != "none"
    addresses = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(environment.get(each, "").strip() for each in addresses)


def _is_disabled(environment: Mapping[str, str]) -> bool:
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _telemetry(
    settings: Settings,
    signals: Sequence[str],
    where: Whereabouts,
    redact: Redact,
    deliveries: Deliveries,
) -> Sequence[Reporter]:
    """Return what sends telemetry; nothing, with a warning, if it cannot be sent."""
    try:
        from mpt_tool.observers.exporting import set_up
        from mpt_tool.observers.telemetry import Telemetry
    except ImportError as missing:
        log.warning(
            "No telemetry is sent, as OpenTelemetry is not installed: pip install 'mpt-tool[otel]'"
            " (%s)",
            missing,
        )
        return []
    flushes = set_up(settings.telemetry, signals, where)

    def flush() -> None:
        for signal, work in flushes.items():
            deliveries.begin(signal, work)

    return [Telemetry(settings.slow_item_seconds, where, redact, flush)]


def _can_notify() -> bool:
    """Whether what sends notifications is installed; warn if not."""
    if find_spec("apprise"):
        return True
    log.warning(
        "No notification is sent, as Apprise is not installed: pip install 'mpt-tool[notify]'"
    )
    return False
