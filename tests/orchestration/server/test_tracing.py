"""Traces reach a collector, and have no query."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from orchestration.server import tracing
from tests.helpers.served import served


def test_spans_of_a_request(corpus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    monkeypatch.setenv(tracing.ENDPOINT, f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with served(corpus_folder) as running:
        query = {"inputs": [{"text": "a red square number 15"}]}
        assert httpx.post(f"{running.url}/search", json=query).status_code == 200
        httpx.get(f"{running.url}/health")
        while "POST /search" not in (by_name := spans(received)):
            time.sleep(0.02)
    collector.shutdown()
    collector.server_close()
    assert by_name["search"].trace_id == by_name["POST /search"].trace_id
    assert by_name["search"].parent_span_id
    assert not any("health" in name for name in by_name)
    assert b"red square" not in b"".join(received)


def spans(received: list[bytes]) -> dict[str, Any]:
    """The spans of requests to a collector, by name."""
    requests = [ExportTraceServiceRequest.FromString(body) for body in received]
    groups = [resource.scope_spans for r in requests for resource in r.resource_spans]
    return {span.name: span for group in groups for scope in group for span in scope.spans}
