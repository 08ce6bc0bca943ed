"""Sets up OpenTelemetry: by the extension's own function, or else as its variables say."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import metrics, trace

from mpt_tool.errors import message_of
from mpt_tool.observers.whereabouts import Whereabouts
from mpt_tool.process.log import get_log

# At the end of a run; what is not exported by then is lost.
_FLUSH_MILLISECONDS = 5_000

log = get_log(__name__)


def set_up(
    function: str | None, signals: Sequence[str], where: Whereabouts
) -> Mapping[str, Callable[[], None]]:
    """Set up what exports spans and figures, and return what flushes each, by its name.

    What the extension's function has set up stays; what it has not is set up as the variables say.
    What cannot be set up is a warning.

    Args:
        function: the extension's own, as `package.module:function`.
        signals: which of TRACES and METRICS the variables say to export.
        where: where the run goes on.
    """
    _quieten()
    if function:
        _call(function, where)
    try:
        if "TRACES" in signals and not _flush_of(trace.get_tracer_provider()):
            _export_traces(where)
        if "METRICS" in signals and not _flush_of(metrics.get_meter_provider()):
            _export_metrics(where)
    except Exception as error:  # noqa: BLE001 - a library failed, the run does not
        log.warning("Telemetry cannot be set up: %s", error)
    providers = {
        "spans": trace.get_tracer_provider(),
        "figures": metrics.get_meter_provider(),
    }
    return {what: flush for what, each in providers.items() if (flush := _flush_of(each))}


def _call(function: str, where: Whereabouts) -> None:
    """Call the extension's function; whatever it raises is a warning."""
    if str(where.root) not in sys.path:
        sys.path.append(str(where.root))
    module, _, name = function.partition(":")
    try:
        getattr(import_module(module), name)()
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
        log.warning("Telemetry: %s failed: %s: %s", function, type(error).__name__, error)


def _export_traces(where: Whereabouts) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The end of the process is not to wait for an exporter.
    provider = TracerProvider(resource=_resource(where), shutdown_on_exit=False)
    for exporter in _exporters("TRACES"):
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def _export_metrics(where: Whereabouts) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    readers = [PeriodicExportingMetricReader(exporter) for exporter in _exporters("METRICS")]
    resource = _resource(where)
    metrics.set_meter_provider(
        MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    )


def _exporters(signal: str) -> Iterator[Any]:
    """Yield the exporters that the variables name for a signal, as OpenTelemetry itself finds them.

    Raises:
        LookupError: one of them is not installed.
    """
    group = f"opentelemetry_{signal.lower()}_exporter"
    for name in os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp").split(","):
        wanted = _otlp(signal) if name.strip() == "otlp" else name.strip()
        found = [each for each in entry_points(group=group) if each.name == wanted]
        if not found:
            raise LookupError(f"there is no exporter {wanted} for {signal.lower()}: install it")
        yield found[0].load()()


def _otlp(signal: str) -> str:
    """Return the name of the exporter for the protocol that is asked for."""
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((os.environ[name] for name in names if os.environ.get(name)), "http/protobuf")
    return "otlp_proto_http" if protocol == "http/protobuf" else f"otlp_proto_{protocol}"


def _resource(where: Whereabouts) -> Any:
    """Return what sends: what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes first."""
    from opentelemetry.sdk.resources import Resource

    ours = {"service.name": where.extension, "host.name": where.origin.host}
    if where.origin.version:
        ours["service.version"] = where.origin.version
    said = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.split("=", 1)[0].strip() for pair in said.split(",")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        named.add("service.name")
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def _flush_of(provider: Any) -> Callable[[], None] | None:
    """Return what has a provider export all it has; None if nobody has set up one."""
    force_flush = getattr(provider, "force_flush", None)
    return (lambda: force_flush(_FLUSH_MILLISECONDS)) if force_flush else None


class _OnceAWarning(logging.Handler):
    """Logs the first thing that goes wrong: an exporter that is down says so again and again."""

    has_warned = False

    def emit(self, record: logging.LogRecord) -> None:
        level = logging.DEBUG if self.has_warned else logging.WARNING
        self.has_warned = True
        error = record.exc_info and record.exc_info[1]
        reason = f": {message_of(error)}" if error else ""
        log.log(level, "Telemetry: %s%s", record.getMessage(), reason)


def _quieten() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_OnceAWarning(logging.WARNING)], False
