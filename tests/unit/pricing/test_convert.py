from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from holdfast.api.pricing.v1 import locked_price_pb2, price_tier_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import has_behavior
from holdfast.common.rpc_fields import not_built
from holdfast.pricing import convert
from holdfast.pricing.domain.calculator import StepKind, calculate
from holdfast.pricing.domain.price_tiers import PriceTerms
from holdfast.pricing.domain.terms import TermsChange
from tests.unit.pricing.factories import NOW, WORKED_PRICES, price_tier, terms, worked_tier

if TYPE_CHECKING:
    from collections.abc import Iterable

RENAMED = {"tax_rate": "tax_rate_basis_points", "group_discount_percent": "group_discount_basis_points"}


def settable() -> Iterable[str]:
    for field in price_tier_pb2.PriceTier.DESCRIPTOR.fields:
        if not has_behavior(field, "OUTPUT_ONLY") and not not_built(field):
            yield RENAMED.get(field.name, field.name)


def test_every_settable_field_of_the_contract_is_a_term() -> None:
    assert set(settable()) == set(TermsChange.__annotations__)
    assert set(settable()) | {"currency_code"} == {field.name for field in fields(PriceTerms)}


def test_every_step_has_its_name_in_the_contract() -> None:
    kinds = locked_price_pb2.PriceStep.Kind.keys()
    assert {kind.value for kind in StepKind} <= set(kinds)


@pytest.mark.parametrize("case", WORKED_PRICES, ids=lambda case: case["name"])
def test_a_tier_that_is_written_and_read_back_is_the_same(case: dict[str, Any]) -> None:
    given = worked_tier(case)
    written = convert.price_tier(price_tier(**convert.terms_change(given)))
    for field, value in given.ListFields():
        if field.name == "tax_rate":
            assert float(written.tax_rate) == float(value)
        else:
            assert getattr(written, field.name) == value, field.name


def test_a_breakdown_is_written_with_the_currencys_decimals() -> None:
    message = convert.price_breakdown(calculate(terms(), quantity=3, now=NOW))
    assert json_format.MessageToDict(message, preserving_proto_field_name=True)["total"] == {
        "currency_code": "USD",
        "amount": "300.00",
    }


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"base_price": {"currency_code": "JPY", "amount": "1.5"}}, Reason.VALIDATION_FAILED, "base_price.amount"),
        ({"base_price": {"currency_code": "ZZZ", "amount": "1"}}, Reason.UNKNOWN_CURRENCY, "base_price.currency_code"),
        ({"tax_rate": "2"}, Reason.VALIDATION_FAILED, "tax_rate"),
        ({"group_discount_percent": "100.5"}, Reason.VALIDATION_FAILED, "group_discount_percent"),
        ({"description": "a\0b"}, Reason.VALIDATION_FAILED, "description"),
    ],
)
def test_what_cannot_be_read_names_its_field(given: dict[str, Any], reason: Reason, field: str) -> None:
    with pytest.raises(DomainError) as refusal:
        convert.terms_change(json_format.ParseDict(given, price_tier_pb2.PriceTier()))
    assert refusal.value.reason is reason
    assert [violation.field for violation in refusal.value.violations] == [f"price_tier.{field}"]
