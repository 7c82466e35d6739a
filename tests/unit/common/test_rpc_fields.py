"""Fields that the contract has and the service does not honour yet: refused, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_fields import FieldRules
from tests.support.little_contract import little_contract

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

CONTRACT = """
message Line {
  oneof selector {
    int32 quantity = 1 [(buf.validate.field).int32.gte = 1];
    string seats = 2 [(holdfast.api.common.v1.hint) = {not_built: true}];
    Best best_available = 3 [(holdfast.api.common.v1.hint) = {not_built: true}];
  }
}
message Best { int32 quantity = 1; }
message Order {
  string name = 1;
  repeated string labels = 2 [(holdfast.api.common.v1.hint) = {not_built: true}];
  optional bool gift = 3 [(holdfast.api.common.v1.hint) = {not_built: true}];
  string number = 4 [
    (google.api.field_behavior) = OUTPUT_ONLY,
    (holdfast.api.common.v1.hint) = {not_built: true}
  ];
}
message UpdateOrderRequest {
  Order order = 1;
  google.protobuf.FieldMask update_mask = 2;
  string coupon_code = 3 [(holdfast.api.common.v1.hint) = {not_built: true}];
  repeated Line lines = 4;
  map<string, Line> by_name = 5;
}
message UpdateOrderResponse {}
message GetOrderRequest { string order_id = 1 [(buf.validate.field).string.min_len = 1]; }
message GetOrderResponse { Order order = 1; }
service OrderService {
  rpc UpdateOrder(UpdateOrderRequest) returns (UpdateOrderResponse);
  rpc GetOrder(GetOrderRequest) returns (GetOrderResponse);
}
"""


@pytest.fixture(scope="module")
def rpcs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MethodDescriptor]:
    service = little_contract("orders", CONTRACT, tmp_path_factory.mktemp("orders")).services_by_name["OrderService"]
    return dict(service.methods_by_name)


def check(rpc: MethodDescriptor, **fields: Any) -> None:
    FieldRules(rpc).check(GetMessageClass(rpc.input_type)(**fields))


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a field", {"coupon_code": "SPRING"}, ["coupon_code"]),
    ("a list", {"order": {"labels": ["a"]}}, ["order.labels"]),
    ("a field with presence, though false", {"order": {"gift": False}}, ["order.gift"]),
    ("a member of a oneof", {"lines": [{"quantity": 1}, {"seats": "A-12"}]}, ["lines[1].seats"]),
    ("a member of a oneof, though empty", {"lines": [{"seats": ""}]}, ["lines[0].seats"]),
    ("a message, though empty", {"lines": [{"best_available": {}}]}, ["lines[0].best_available"]),
    ("inside a map", {"by_name": {"x": {"seats": "A-1"}}}, ['by_name["x"].seats']),
    ("cleared by a mask", {"order": {"name": "n"}, "update_mask": {"paths": ["name", "labels"]}}, ["order.labels"]),
    (
        "set and in the mask, named once",
        {"order": {"labels": ["a"]}, "update_mask": {"paths": ["labels"]}},
        ["order.labels"],
    ),
    (
        "several, before any rule that is broken",
        {"coupon_code": "X", "lines": [{"quantity": 0}, {"seats": "B-1"}]},
        ["coupon_code", "lines[1].seats"],
    ),
]


@pytest.mark.parametrize(("fields", "refused"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_field_that_is_not_built_is_refused(
    rpcs: dict[str, MethodDescriptor], fields: dict[str, Any], refused: list[str]
) -> None:
    with pytest.raises(DomainError) as caught:
        check(rpcs["UpdateOrder"], **fields)
    error = caught.value
    assert error.reason is Reason.NOT_BUILT_YET
    assert dict(error.metadata) == {"rpc": "UpdateOrder", "field": refused[0]}
    assert [violation.field for violation in error.violations] == refused
    assert error.message == f"{refused[0]}: is not built yet"


def test_violations_of_many_fields_are_bounded(rpcs: dict[str, MethodDescriptor]) -> None:
    with pytest.raises(DomainError) as caught:
        check(rpcs["UpdateOrder"], lines=[{"seats": "A-1"}] * 500)
    assert len(caught.value.violations) == 50


def test_what_is_built_passes_beside_it(rpcs: dict[str, MethodDescriptor]) -> None:
    check(rpcs["UpdateOrder"])
    check(
        rpcs["UpdateOrder"],
        order={"name": "n"},
        update_mask={"paths": ["name"]},
        coupon_code="",
        lines=[{"quantity": 2}],
        by_name={"x": {"quantity": 1}},
    )


def test_an_output_only_field_stays_refused_as_such(rpcs: dict[str, MethodDescriptor]) -> None:
    with pytest.raises(DomainError) as caught:
        check(rpcs["UpdateOrder"], order={"number": "7"})
    assert caught.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in caught.value.violations] == ["order.number"]


def test_a_request_without_such_fields_costs_nothing(rpcs: dict[str, MethodDescriptor]) -> None:
    rules = FieldRules(rpcs["GetOrder"])
    assert not rules._not_built
    with pytest.raises(DomainError) as caught:
        check(rpcs["GetOrder"])
    assert caught.value.reason is Reason.VALIDATION_FAILED
