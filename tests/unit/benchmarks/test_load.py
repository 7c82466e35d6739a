"""What the load generator reads and says."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.facts import batch_samples
from benchmarks.load.http_messages import NotUnderstoodError, split
from benchmarks.load.outcome import Measurement
from benchmarks.load.scripts import ExhaustedError, HoldScript, LifecycleScript, Requests, WrongAnswerError
from benchmarks.profile import shares
from benchmarks.rest import SEAT_COLUMNS, SEAT_ROWS, SEATS_OF_A_HOLD, groups

if TYPE_CHECKING:
    from pathlib import Path

HOLD_ID = "0190163d-8694-739b-aea5-966c26f8ad90"


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(["first", "second"]))
    return {"host": "mesh:1", "run": "r", "tokens": str(tokens), "targets": [{"path": "/a", "body": "{}"}]}


def hold(state: str = "ACTIVE", hold_id: str = HOLD_ID) -> bytes:
    return json.dumps({"hold": {"id": hold_id, "state": state, "lines": [{"quantity": 2}]}}).encode()


def test_a_message_is_read_when_all_of_it_is_there() -> None:
    whole = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nx: y\r\n\r\nbody"
    assert all(split(whole[:end]) is None for end in range(len(whole)))
    head, body = split(whole) or (b"", b"")
    assert (head[9:12], body) == (b"201", b"body")


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab"])
def test_a_message_of_unknown_length_or_followed_by_another_is_an_error(data: bytes) -> None:
    with pytest.raises(NotUnderstoodError):
        split(data)


def test_every_request_is_another_principals_and_has_a_key_of_its_own(job: dict[str, Any]) -> None:
    requests = Requests(job)
    said = [requests.post()[0].decode() for _ in range(3)]
    assert said[0] == (
        "POST /a HTTP/1.1\r\nHost: mesh:1\r\nAuthorization: Bearer first\r\nContent-Type: application/json\r\n"
        "Idempotency-Key: r-0\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert ["Bearer second" in text for text in said] == [False, True, False]
    assert len({text.partition("Idempotency-Key: ")[2] for text in said}) == 3


def test_targets_of_which_each_is_good_once_end(job: dict[str, Any]) -> None:
    requests = Requests(job | {"once": True})
    requests.post()
    with pytest.raises(ExhaustedError):
        requests.post()


def test_a_hold_is_counted_with_its_places_and_only_once(job: dict[str, Any]) -> None:
    script = HoldScript(Requests(job))
    assert script.proceed(b"201", hold()) is None
    assert script.held == 2
    with pytest.raises(WrongAnswerError, match="the same hold"):
        script.proceed(b"201", hold())


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (b"200", hold(), "200"),
        (b"409", b'{"code": "SEATS_TAKEN"}', "409 SEATS_TAKEN"),
        (b"201", b"{", "not JSON"),
        (b"201", hold("EXPIRED"), "hold EXPIRED"),
    ],
)
def test_an_answer_that_is_not_a_fresh_hold_is_an_error(
    job: dict[str, Any], status: bytes, body: bytes, told: str
) -> None:
    with pytest.raises(WrongAnswerError, match=told):
        HoldScript(Requests(job)).proceed(status, body)


def test_a_lifecycle_confirms_the_hold_that_it_placed(job: dict[str, Any]) -> None:
    script = LifecycleScript(Requests(job))
    script.begin()
    request = script.proceed(b"201", hold()) or b""
    assert request.startswith(f"POST /api/v1/holds/{HOLD_ID}/confirm HTTP/1.1".encode())
    assert script.sold == 0
    confirmed = json.loads(hold("CONFIRMED")) | {"sale": {"state": "SOLD"}}
    assert script.proceed(b"200", json.dumps(confirmed).encode()) is None
    assert script.sold == 2


def test_no_seat_is_asked_for_twice() -> None:
    wanted = groups(SEAT_ROWS)
    seats = [label for labels in wanted for label in labels]
    assert len(seats) == len(set(seats)) == SEAT_ROWS * SEAT_COLUMNS
    assert {len(labels) for labels in wanted} == set(SEATS_OF_A_HOLD)


def test_only_what_ends_after_the_warm_up_is_measured() -> None:
    measurement = Measurement({"warm_seconds": 1_000, "seconds": 1})
    measurement.start()
    measurement.done(0.0, 0.1, held=3)
    measurement.failed("503 X", times=4)
    found = measurement.outcome()
    assert (found.operations, found.held, found.measured, found.errors) == (1, 3, 0, {"503 X": 4})


def test_the_warm_up_lasts_until_enough_was_done() -> None:
    measurement = Measurement({"warm_seconds": 0, "seconds": 1_000, "warm_operations": 2})
    measurement.start()
    for _ in range(4):
        now = time.perf_counter()
        assert not measurement.over(now)
        measurement.done(now, time.perf_counter())
    assert (measurement.outcome().operations, measurement.outcome().measured) == (4, 2)


def test_samples_about_batches_are_found_in_a_scrape() -> None:
    scrape = [
        "# HELP holdfast_engine_batch_size Requests that a batch decided",
        'holdfast_engine_batch_size_bucket{le="1.0"} 3.0',
        "holdfast_engine_batch_size_count 3.0",
        'holdfast_engine_batch_seconds_sum{stage="read"} 0.5',
        "holdfast_engine_waiting 0.0",
    ]
    assert batch_samples(scrape) == [scrape[2], scrape[3]]


def test_a_profile_gives_shares_by_itself_and_with_what_is_called() -> None:
    text = shares(["main;read;parse 3", "main;read 1"])
    assert text.splitlines()[1].split() == ["75.0", "%", "parse"]
    assert "100.0 %  main" in text
