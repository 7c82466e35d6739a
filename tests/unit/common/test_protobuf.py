"""Protobuf's types and ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.capacity.v1 import hold_service_pb2
from holdfast.api.common.v1 import money_pb2
from holdfast.api.events.v1 import event_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from holdfast.common.protobuf import (
    fingerprint,
    from_money,
    from_struct,
    optional_datetime,
    to_datetime,
    to_money,
    to_struct,
    to_timestamp,
    updated_fields,
)

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def refusal(error: pytest.ExceptionInfo[DomainError]) -> tuple[str, str]:
    assert error.value.reason is Reason.VALIDATION_FAILED
    return error.value.violations[0].field, error.value.violations[0].message


def test_moments_keep_their_microseconds_and_become_utc() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=9)))
    assert to_datetime(to_timestamp(east), field="t") == NOON
    assert to_datetime(to_timestamp(east), field="t").tzinfo is UTC


def test_a_moment_without_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_timestamp(datetime(2026, 5, 1))  # noqa: DTZ001 - that is the mistake


def test_a_timestamp_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(DomainError) as error:
        to_datetime(Timestamp(seconds=10**15), field="start_time")
    assert refusal(error)[0] == "start_time"


def test_an_unset_timestamp_is_none() -> None:
    assert optional_datetime(event_pb2.Event(), "sales_start_time") is None
    event = event_pb2.Event(sales_start_time=to_timestamp(NOON))
    assert optional_datetime(event, "sales_start_time") == NOON


def test_money_both_ways() -> None:
    message = to_money(Money(24840, "USD"))
    assert message == money_pb2.Money(currency_code="USD", amount="248.40")
    assert from_money(message, field="price") == Money(24840, "USD")
    with pytest.raises(DomainError) as error:
        from_money(money_pb2.Money(currency_code="USD", amount="1.234"), field="price")
    assert refusal(error)[0] == "price.amount"


def test_structs_are_json_with_whole_numbers_whole() -> None:
    values = {"a": 1, "b": 1.5, "c": [None, True, "x", {"d": 2}]}
    back = from_struct(to_struct(values), field="metadata")
    assert back == values
    assert isinstance(back["a"], int)


def nested(depth: int) -> Struct:
    struct = Struct()
    inner = struct
    for _ in range(depth):
        inner = inner.fields["x"].struct_value
    inner.fields["x"].bool_value = True
    return struct


def test_structs_have_limits() -> None:
    from_struct(nested(14), field="metadata")
    for struct, message in (
        (nested(20), "nested deeper"),
        (to_struct({"x": "y" * 70_000}), "larger than"),
        (to_struct({"x": float("nan")}), "NaN"),
    ):
        with pytest.raises(DomainError, match=message) as error:
            from_struct(struct, field="metadata")
        assert refusal(error)[0] == "metadata"


def test_without_a_mask_the_fields_that_are_present_are_updated() -> None:
    event = event_pb2.Event(name="x", tags=["a"])
    assert set(updated_fields(event, None, resource_name="event")) == {"name", "tags"}
    assert set(updated_fields(event, FieldMask(), resource_name="event")) == {"name", "tags"}


def test_with_a_mask_exactly_its_fields_are_updated_also_to_nothing() -> None:
    event = event_pb2.Event(name="x")
    assert updated_fields(event, FieldMask(paths=["tags", "tags"]), resource_name="event") == ("tags",)


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(DomainError) as error:
        updated_fields(event_pb2.Event(), None, resource_name="event")
    assert refusal(error)[0] == "event"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("state", "PublishEvent"),
        ("id", "set by the mesh only"),
        ("starts_at", "CreateSchedule"),
        ("colour", "not a field"),
        ("settings.x", "top-level"),
        ("*", "top-level"),
    ],
)
def test_a_mask_names_only_what_callers_can_set(path: str, said: str) -> None:
    with pytest.raises(DomainError) as error:
        updated_fields(event_pb2.Event(), FieldMask(paths=[path]), resource_name="event")
    field, message = refusal(error)
    assert field == "update_mask"
    assert said in message


def test_the_fingerprint_is_of_the_content_without_the_key() -> None:
    request = hold_service_pb2.PlaceHoldRequest(section_id="s", quantity=2, request_id="a")
    same = hold_service_pb2.PlaceHoldRequest(section_id="s", quantity=2, request_id="b")
    other = hold_service_pb2.PlaceHoldRequest(section_id="s", quantity=3, request_id="a")
    assert fingerprint(request) == fingerprint(same) != fingerprint(other)
    assert request.request_id == "a"
    assert len(fingerprint(hold_service_pb2.GetHoldRequest(hold_id="h"))) == 32
