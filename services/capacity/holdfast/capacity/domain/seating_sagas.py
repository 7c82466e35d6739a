"""A seating whose sections have prices, on its way through two services.

Its price tiers are made first, by pricing; its sections and seats after them, in the one commit that decides it. What
refuses it is noted in the same way, under the event's lock, and its price tiers are then withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.common.errors import DomainError

LEASE_SECONDS: Final = 5.0
"""How long whoever works on a saga is left alone with it. Two who do cost time and nothing else."""
RETRY_SECONDS_MAX: Final = 300.0
"""The longest pause between two attempts; they double from the lease on."""
GIVEN_UP_SECONDS: Final = 86_400.0
"""How long a saga tries to make its price tiers. Withdrawing them is never given up: they are of no use to anybody."""


@dataclass(frozen=True, slots=True)
class SeatingSaga:
    """What has to be known to take it to its end, whoever does.

    `config` is the seating configuration as it came, `currency_code` that of its prices. Ids of sections are as many as
    it plans, those of price tiers as many of these as have a price, in their order. `refusal` tells why it is not made.
    """

    saga_id: str
    organization_id: str
    event_id: str
    schedule_id: str | None
    caller: str
    request_id: str
    fingerprint: bytes
    config: bytes
    currency_code: str
    section_ids: tuple[str, ...]
    price_tier_ids: tuple[str, ...] = ()
    refusal: DomainError | None = None

    @property
    def name(self) -> tuple[str, str]:
        """Whose request it is: there is one saga of each."""
        return self.caller, self.request_id

    def refused(self, refusal: DomainError) -> SeatingSaga:
        """Give the saga as one that is not made."""
        return replace(self, refusal=refusal)
