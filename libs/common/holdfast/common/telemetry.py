"""Traces: OpenTelemetry, sampled before anything is built, exported in batches, never awaited.

Whether a call is recorded is decided once: by the caller's `traceparent`, else by the configured ratio. What is not
recorded costs an identifier and a context variable, no span.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import TraceState
    from opentelemetry.util.types import Attributes, AttributeValue

TRACEPARENT: Final = "traceparent"
SHUTDOWN_SECONDS_MAX: Final = 3.0
_SCOPE: Final = "holdfast"
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_DECIDED: Final = otel_context.create_key("holdfast-sampled")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)


class _Decided(Sampler):
    """Records a root whose sampling was decided before; leaves others to the ratio."""

    def __init__(self, ratio: float) -> None:
        self._ratio = TraceIdRatioBased(ratio)

    def should_sample(  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if parent_context is not None and otel_context.get_value(_DECIDED, parent_context):
            return SamplingResult(Decision.RECORD_AND_SAMPLE)
        return self._ratio.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"Decided({self._ratio.get_description()})"


class Telemetry:
    """A service's tracer. Without an endpoint or processors nothing is recorded."""

    def __init__(
        self,
        *,
        service: str,
        endpoint: str | None = None,
        ratio: float = 0.01,
        processors: Sequence[SpanProcessor] = (),
    ) -> None:
        self._endpoint = endpoint
        self._processors = tuple(processors)
        self.ratio = ratio if endpoint is not None or processors else 0.0
        self.provider = TracerProvider(
            sampler=ParentBased(root=_Decided(self.ratio)),
            resource=Resource.create({"service.name": f"holdfast-{service}"}),
            shutdown_on_exit=False,
        )
        self.tracer = self.provider.get_tracer(_SCOPE)

    def start(self, *, make_global: bool = True) -> None:
        """Begin exporting; call after the process is what it will be (never before a fork)."""
        for processor in self._processors:
            self.provider.add_span_processor(processor)
        if self._endpoint is not None:
            # Imported here: a service that exports nothing does not pay for the exporter's memory.
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above

            exporter = OTLPSpanExporter(endpoint=self._endpoint, insecure=True, timeout=2)
            self.provider.add_span_processor(BatchSpanProcessor(exporter))
        if make_global:
            trace.set_tracer_provider(self.provider)

    async def stop(self) -> None:
        """Send what is buffered and stop, within 3 s; what could not be sent by then is lost."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self.provider.shutdown()
            with contextlib.suppress(RuntimeError):  # The loop may be closed: nobody waits any more.
                loop.call_soon_threadsafe(done.set)

        # A daemon thread, not the loop's executor: neither this coroutine nor the end of the process waits for an
        # exporter whose collector does not answer, which OpenTelemetry itself does not bound.
        threading.Thread(target=shut_down, name="telemetry-shutdown", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS_MAX):
                await done.wait()

    def server_context(self, traceparent: str | None) -> Context:
        """Give the context of an arriving call: the caller's trace, or a new one, sampled by the ratio.

        In a context of a new trace that is sampled there is no span yet: `start` one in it.
        """
        parent = parse_traceparent(traceparent)
        if parent is None:
            new = self._new_context()
            if new is not None:
                return new
            parent = _unsampled()
        return trace.set_span_in_context(NonRecordingSpan(parent), _EMPTY)

    def arrive(self, traceparent: str | None, name: str, *, kind: SpanKind) -> tuple[Context, str, Span | None]:
        """Begin with an arriving call: its context, its traceparent from here on, and its span if it is recorded."""
        context = self.server_context(traceparent) if traceparent else self._new_context()
        if context is None:
            unrecorded = _Unrecorded()
            return trace.set_span_in_context(unrecorded, _EMPTY), unrecorded.traceparent, None
        span = self.begin(name, kind=kind, context=context)
        if span is not None:
            context = trace.set_span_in_context(span, context)
        return context, format_traceparent(trace.get_current_span(context).get_span_context()), span

    def _new_context(self) -> Context | None:
        """Give the context of a new trace if it shall be recorded."""
        if self.ratio and random.random() < self.ratio:  # noqa: S311 - not a secret
            return otel_context.set_value(_DECIDED, value=True, context=_EMPTY)
        return None

    def begin(self, name: str, *, kind: SpanKind, context: Context) -> Span | None:
        """Start a span if the context's trace is recorded; None otherwise. Whoever begins it ends it."""
        if not is_recorded(context):
            return None
        return self.tracer.start_span(name, context=context, kind=kind)


class _Unrecorded(NonRecordingSpan):
    """Stands for a new trace that is not recorded; is taken apart only when somebody asks for it."""

    def __init__(self) -> None:  # without a context as yet, which is what the base is made of
        ids = f"{random.getrandbits(192):048x}"
        self.traceparent = f"00-{ids[:32]}-{ids[32:]}-00"

    def get_span_context(self) -> SpanContext:
        trace_id, span_id = int(self.traceparent[3:35], 16), int(self.traceparent[36:52], 16)
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=_NOT_SAMPLED)


_EMPTY: Final = otel_context.Context()
_TRACEPARENT_LENGTH: Final = 55


def is_recorded(context: Context | None = None) -> bool:
    """Tell whether spans in a context would be recorded."""
    span_context = trace.get_current_span(context).get_span_context()
    if span_context.is_valid:
        return bool(span_context.trace_flags & TraceFlags.SAMPLED)
    return bool(otel_context.get_value(_DECIDED, context))


def _unsampled() -> SpanContext:
    return SpanContext(
        trace_id=random.getrandbits(128) or 1,
        span_id=random.getrandbits(64) or 1,
        is_remote=True,
        trace_flags=_NOT_SAMPLED,
    )


def is_unrecorded(traceparent: str) -> bool:
    """Tell at a glance that a traceparent is of a trace that is not recorded; False when it takes a closer look."""
    return len(traceparent) == _TRACEPARENT_LENGTH and traceparent.startswith("00-") and traceparent.endswith("-00")


def parse_traceparent(text: str | None) -> SpanContext | None:
    """Read a W3C traceparent; None when there is none or it is malformed."""
    if not text:
        return None
    match = _TRACEPARENT.fullmatch(text)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    flags = _SAMPLED if int(match[4], 16) & TraceFlags.SAMPLED else _NOT_SAMPLED
    return SpanContext(trace_id=trace_id, span_id=span_id, is_remote=True, trace_flags=flags)


def format_traceparent(context: SpanContext) -> str:
    """Write a W3C traceparent."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"


def current_traceparent() -> str | None:
    """Give the traceparent of the present span, None outside of any trace."""
    context = trace.get_current_span().get_span_context()
    return format_traceparent(context) if context.is_valid else None


def current_trace_id(context: Context | None = None) -> str | None:
    """Give the trace id of the present context, or of another: 32 hexadecimal digits, None outside of any trace."""
    found = trace.get_current_span(context).get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else None


def context_from(traceparent: str | None) -> Context:
    """Give the context in which work that another process caused goes on; empty without a valid traceparent."""
    parent = parse_traceparent(traceparent)
    return _EMPTY if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), _EMPTY)


def tracer() -> trace.Tracer:
    """Give the process' tracer, for code that has none passed to it."""
    return trace.get_tracer(_SCOPE)


def links_to(traceparent: str | None) -> list[Link]:
    """Give what points from a span to where another trace stood; empty without one that can be read."""
    if not traceparent:
        return []
    there = trace.get_current_span(context_from(traceparent)).get_span_context()
    return [Link(there)] if there.is_valid else []


@contextmanager
def span(  # noqa: PLR0913 (what a span is made of)
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    traceparent: str | None = None,
    with_tracer: trace.Tracer | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span | None]:
    """Run a block in a span of the present trace (or of `traceparent`); yields None when nothing is recorded.

    An unrecorded trace still goes on inside the block, so that ids reach logs and messages. Exceptions are noted and
    go on.
    """
    context = context_from(traceparent) if traceparent else otel_context.get_current()
    recorded = is_recorded(context)
    # A root is the sampler's to decide; a trace that is known not to be recorded costs nothing more.
    if not recorded and trace.get_current_span(context).get_span_context().is_valid:
        token = otel_context.attach(context)
        try:
            yield None
        finally:
            otel_context.detach(token)
        return
    current = (with_tracer or tracer()).start_span(name, context=context, kind=kind, attributes=attributes, links=links)
    token = otel_context.attach(trace.set_span_in_context(current, context))
    try:
        yield current if current.is_recording() else None
    except BaseException as error:
        current.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        otel_context.detach(token)
        current.end()
