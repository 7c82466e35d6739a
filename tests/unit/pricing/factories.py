"""Terms and tiers for tests of pure pricing code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from holdfast.api.pricing.v1 import price_tier_pb2
from holdfast.common.money import Money
from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier, TierVersion
from holdfast.pricing.domain.terms import TermsChange, create_terms

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
WORKED_PRICES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "worked_prices.json").read_text())
AMOUNTS = {
    field.name
    for field in price_tier_pb2.PriceTier.DESCRIPTOR.fields
    if field.message_type is not None and field.message_type.name == "Money"
}


def usd(amount: str) -> Money:
    return Money.parse(amount, "USD")


def terms(**change: Any) -> PriceTerms:
    given: TermsChange = {"name": "Standard", "base_price": usd("100.00")}
    given.update(change)  # type: ignore[typeddict-item]  # tests name the fields freely
    return create_terms(given)


def price_tier(**change: Any) -> PriceTier:
    version = tier_version(**change)
    return PriceTier(
        id=version.price_tier_id,
        organization_id=version.organization_id,
        event_id=version.event_id,
        terms=version.terms,
        version=version.version,
        create_time=NOW,
        update_time=NOW,
    )


def tier_version(**change: Any) -> TierVersion:
    identity = {key: change.pop(key) for key in ("price_tier_id", "organization_id", "event_id") if key in change}
    return TierVersion(
        **{
            "price_tier_id": "0195d3e0-0000-7000-8000-000000000001",
            "organization_id": "0195d3e0-0000-7000-8000-000000000002",
            "event_id": "0195d3e0-0000-7000-8000-000000000003",
            **identity,
        },
        terms=terms(**change),
        version=3,
    )


def worked_tier(case: dict[str, Any]) -> price_tier_pb2.PriceTier:
    """The tier of a worked price, as the contract writes it."""
    fields = {
        name: {"currency_code": case["currency_code"], "amount": value} if name in AMOUNTS else value
        for name, value in case["tier"].items()
    }
    return json_format.ParseDict({"name": case["name"][:100], **fields}, price_tier_pb2.PriceTier())
