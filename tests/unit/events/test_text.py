"""Text that cannot be kept is found wherever it stands in a request."""

from __future__ import annotations

import pytest

from holdfast.api.events.v1 import event_pb2, event_service_pb2
from holdfast.common.rpc_text import nul_faults


def request(**fields: str) -> event_service_pb2.CreateEventRequest:
    made = event_service_pb2.CreateEventRequest(request_id="a", event=event_pb2.Event(name="b", tags=["c", "d"]))
    made.event.starts_at.FromSeconds(128)
    made.event.metadata.update({"list": [1, {"deep": "text"}], "number": 0.0})
    for path, value in fields.items():
        if path == "tag":
            made.event.tags.append(value)
        elif path == "key":
            made.event.metadata.update({value: 1})
        elif path == "value":
            made.event.metadata.update({"list": [1, {"deep": value}]})
        else:
            setattr(made, path, value)
    return made


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"request_id": "\x00"}, "request_id"),
        ({"tag": "x\x00"}, "event.tags[2]"),
        ({"key": "x\x00"}, "event.metadata.fields"),
        ({"value": "x\x00"}, "event.metadata.fields.list_value.values[1].struct_value.fields.string_value"),
    ],
)
def test_nul_characters_are_found(fields: dict[str, str], path: str) -> None:
    assert [one.field for one in nul_faults(request(**fields))] == [path]


def test_zero_bytes_of_numbers_are_none() -> None:
    assert b"\x00" in request().SerializeToString()
    assert list(nul_faults(request())) == []
