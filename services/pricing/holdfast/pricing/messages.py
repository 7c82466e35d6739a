"""Changes of price tiers → messages of the stream PRICING."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.pricing.v1 import messages_pb2
from holdfast.common import messaging
from holdfast.common.protobuf import to_timestamp
from holdfast.pricing import convert

if TYPE_CHECKING:
    from holdfast.common.messaging import OutgoingMessage
    from holdfast.pricing.domain.price_tiers import PriceTier

STREAM: Final = "pricing"


def price_tier_changed(tier: PriceTier) -> OutgoingMessage:
    """Say that a tier was created or changed; the aggregate is the tier, its version gapless."""
    return messaging.outgoing(
        messages_pb2.PriceTierChanged(price_tier=convert.price_tier(tier), occur_time=to_timestamp(tier.update_time)),
        stream=STREAM,
        organization_id=tier.organization_id,
        event_id=tier.event_id,
        aggregate_id=tier.id,
        version=tier.version,
        occur_time=tier.update_time,
    )
