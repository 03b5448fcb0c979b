"""Traces of requests with OpenTelemetry (the extra `otel`).

They are on where OpenTelemetry's own variable OTEL_EXPORTER_OTLP_ENDPOINT names a collector. Spans
have routes, statuses, releases and counts, but no query.
"""

import os

from fastapi import FastAPI

from orchestration.server.service import Service
from store.errors import MissingPackageError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_NOT_TRACED = "health,ready,metrics"


def is_wanted() -> bool:
    """Whether the environment names a collector."""
    return bool(os.environ.get(ENDPOINT) or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def trace(app: FastAPI, service: Service) -> None:
    """Send a span of every request, and of the search in it, to the collector.

    Raises:
        MissingPackageError: the packages of the extra `otel` are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{ENDPOINT} is set, but the package {error.name} is not installed:"
            " pip install 'isotrope[otel]'"
        ) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    name = os.environ.get("OTEL_SERVICE_NAME", "isotrope")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    service.span = provider.get_tracer("isotrope").start_as_current_span
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, excluded_urls=_NOT_TRACED)
