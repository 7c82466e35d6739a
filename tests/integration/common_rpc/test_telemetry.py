"""Spans reach a collector; a collector that does not answer holds nothing up."""

from __future__ import annotations

import asyncio
import socket
import time

from holdfast.common.telemetry import (
    Telemetry,
    current_trace_id,
    current_traceparent,
    format_traceparent,
    parse_traceparent,
    span,
)
from tests.support.traces import TraceReceiver

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
RECORDED = f"00-{TRACE_ID}-{SPAN_ID}-01"
UNRECORDED = f"00-{TRACE_ID}-{SPAN_ID}-00"


async def test_spans_reach_the_collector_with_their_service() -> None:
    with TraceReceiver() as receiver:
        telemetry = Telemetry(service="capacity", endpoint=receiver.endpoint, ratio=0.0)
        telemetry.start(make_global=False)
        with span("consume", traceparent=RECORDED, attributes={"n": 1}, with_tracer=telemetry.tracer) as outer:
            assert outer is not None
            with span("write", with_tracer=telemetry.tracer) as inner:
                assert inner is not None
                assert current_trace_id() == TRACE_ID
        await telemetry.stop()
        received = {each.name: each for each in receiver.trace(TRACE_ID)}
    assert set(received) == {"consume", "write"}
    assert received["consume"].parent_span_id == SPAN_ID
    assert received["write"].parent_span_id == received["consume"].span_id
    assert received["write"].service == "holdfast-capacity"


async def test_an_unrecorded_trace_keeps_its_id_and_makes_no_spans() -> None:
    with TraceReceiver() as receiver:
        telemetry = Telemetry(service="capacity", endpoint=receiver.endpoint, ratio=1.0)
        telemetry.start(make_global=False)
        with span("consume", traceparent=UNRECORDED, with_tracer=telemetry.tracer) as nothing:
            assert nothing is None
            assert current_traceparent() == UNRECORDED
        await telemetry.stop()
        assert receiver.trace(TRACE_ID) == []


async def test_a_collector_that_does_not_answer_does_not_hold_up_the_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        telemetry = Telemetry(service="capacity", endpoint=f"127.0.0.1:{silent.getsockname()[1]}", ratio=1.0)
        telemetry.start(make_global=False)
        for _ in range(1500):  # Several batches, each of which waits for the exporter's own time-out.
            with span("work", with_tracer=telemetry.tracer):
                pass
        began = time.monotonic()
        async with asyncio.timeout(10):
            await telemetry.stop()
        assert time.monotonic() - began < 5


def test_traceparents_read_and_write() -> None:
    context = parse_traceparent(RECORDED)
    assert context is not None
    assert context.trace_flags.sampled
    assert format_traceparent(context) == RECORDED
    later = parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later")
    assert later is not None
    for malformed in (None, "", "x", RECORDED.upper(), f"{RECORDED}-x", RECORDED[:-1], f"00-{TRACE_ID}-{'0' * 16}-01"):
        assert parse_traceparent(malformed) is None
