"""An HTTP server on the loopback interface that takes whatever is sent, and can read OTLP."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .process import wait_until

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Span:
    """A span, and the names of those around it, the innermost first."""

    name: str
    parents: tuple[str, ...]
    attributes: Mapping[str, Any]
    events: Mapping[str, Mapping[str, Any]]
    is_error: bool
    resource: Mapping[str, Any]
    began: int
    ended: int


@dataclass
class Received:
    """What was sent: where to, and its body."""

    path: str
    content: bytes


@dataclass
class Receiver:
    """Answers 200, another `status`, or nothing as long as it `hangs`."""

    status: int = 200
    hangs: bool = False
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def telemetry(self) -> dict[str, str]:
        """The variables that have telemetry sent here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.address}"}

    def take(self, path: str, content: bytes) -> bool:
        """Keep what was sent; return whether to answer."""
        self.received.append(Received(path, content))
        if self.hangs:
            self._ended.wait()
        return not self.hangs

    def bodies(self, path: str) -> list[str]:
        """Return the texts that were sent to a path."""
        return [each.content.decode() for each in self.received if each.path == path]

    def wait_for(self, path: str) -> str:
        """Return the first text that is sent to a path, once it has come."""
        wait_until(lambda: bool(self.bodies(path)))
        return self.bodies(path)[0]

    def spans(self) -> list[Span]:
        """Return all spans that were sent, those that began first before the others."""
        found: dict[bytes, tuple[Any, Mapping[str, Any]]] = {}
        for each in self._sent("/v1/traces"):
            for of_resource in ExportTraceServiceRequest.FromString(each).resource_spans:
                resource = _attributes(of_resource.resource.attributes)
                for scope in of_resource.scope_spans:
                    found |= {span.span_id: (span, resource) for span in scope.spans}

        def parents(span: Any) -> Iterator[str]:
            while span := found.get(span.parent_span_id, (None, None))[0]:
                yield span.name

        spans = [
            Span(
                span.name,
                tuple(parents(span)),
                _attributes(span.attributes),
                {event.name: _attributes(event.attributes) for event in span.events},
                span.status.code == span.status.STATUS_CODE_ERROR,
                resource,
                span.start_time_unix_nano,
                span.end_time_unix_nano,
            )
            for span, resource in found.values()
        ]
        return sorted(spans, key=lambda span: span.began)

    def figures(self) -> dict[str, list[tuple[Mapping[str, Any], Any]]]:
        """Return the last points of all metrics by name: attributes, and value or sum."""
        found: dict[str, list[tuple[Mapping[str, Any], Any]]] = {}
        for each in self._sent("/v1/metrics"):
            for of_resource in ExportMetricsServiceRequest.FromString(each).resource_metrics:
                for scope in of_resource.scope_metrics:
                    found |= {metric.name: _points(metric) for metric in scope.metrics}
        return found

    def _sent(self, path: str) -> list[bytes]:
        return [each.content for each in self.received if each.path == path]


def _points(metric: Any) -> list[tuple[Mapping[str, Any], Any]]:
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points
    if kind == "histogram":
        return [(_attributes(point.attributes), point.sum) for point in points]
    return [
        (_attributes(point.attributes), getattr(point, point.WhichOneof("value")))
        for point in points
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        receiver = self.server.receiver
        if receiver.take(self.path, content):
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
