"""What is sold in a measurement: an organization, its buyers, and an event on sale for each case."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.local import tokens
from holdfast.local.rest import Api
from holdfast.local.state import write_private
from holdfast.local.tokens import Bearer

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.stack import Stack

TOKEN_MINUTES = 12 * 60
PLACES_MAX = 10_000_000
DAYS_AHEAD = 30
NOT_BUILT_STATUS = 501
HOLD_TTL_SECONDS = 3600
"""The most that an organization allows by default: nothing expires while it is measured."""


@dataclass(frozen=True, slots=True)
class Show:
    """An event on sale. `price_tier_id` is what holds lock; empty = they lock none."""

    organization_id: str
    event_id: str
    section_ids: tuple[str, ...]
    price_tier_id: str = ""


class Shows:
    """One organization with a venue and its buyers; makes events."""

    def __init__(self, stack: Stack, *, principals: int) -> None:
        self._stack = stack
        self._numbers = itertools.count(1)
        platform = self._api(Bearer(subject="bench-platform", organization_id="", roles=("platform_admin",)))
        made = platform.post("/api/v1/organizations", {"name": "Bench Hall Concerts"}, request_id="bench-organization")
        self.organization_id = str(made["organization"]["id"])
        self.organizer = self._api(
            Bearer(subject="bench-organizer", organization_id=self.organization_id, roles=("organizer",))
        )
        venue = {"name": "Bench Hall", "max_capacity": PLACES_MAX}
        self._venue_id = str(self.organizer.post("/api/v1/venues", venue, request_id="bench-venue")["venue"]["id"])
        self.buyers = tuple(f"buyer-{number}" for number in range(principals))
        self.tokens = self._mint()
        self.buyer_api = Api(self._stack.plan.gateway, json.loads(self.tokens.read_text())[0])
        """The API as the first buyer sees it."""

    def _token(self, bearer: Bearer) -> str:
        return tokens.mint(self._stack.layout.issuer, bearer, now=datetime.now(UTC), minutes=TOKEN_MINUTES)

    def _api(self, bearer: Bearer) -> Api:
        return Api(self._stack.plan.gateway, self._token(bearer))

    def _mint(self) -> Path:
        """Mint every buyer's token with the project's own issuer; give the file."""
        path = self._stack.layout.root / "buyers.json"
        minted = [
            self._token(Bearer(subject=buyer, organization_id=self.organization_id, roles=("buyer",)))
            for buyer in self.buyers
        ]
        write_private(path, json.dumps(minted))
        return path

    def number(self) -> int:
        """Give a number that nothing here had before."""
        return next(self._numbers)

    def make(self, name: str, *, sections: int = 1, priced: bool = False) -> Show:
        """Make an event on sale with so many general admission sections.

        It has a price tier, without which nothing goes on sale; holds are to lock its price if `priced`.
        """
        event_id, key = self.event(name)
        ids = [
            str(
                self.organizer.post(
                    f"/api/v1/events/{event_id}/capacity",
                    {"name": f"Floor {number}", "total": PLACES_MAX // sections},
                    request_id=f"{key}-section-{number}",
                )["section"]["id"]
            )
            for number in range(1, sections + 1)
        ]
        tier_id = self._tier(event_id, ids[0], key)
        self._open(event_id, key)
        return Show(self.organization_id, event_id, tuple(ids), tier_id if priced else "")

    def make_seated(self, name: str, *, configs: int, config: dict[str, Any]) -> Show:
        """Make an event on sale with seats: `config` laid out `configs` times, `{n}` in its names replaced."""
        event_id, key = self.event(name)
        ids: list[str] = []
        for number in range(1, configs + 1):
            body = json.loads(json.dumps(config).replace("{n}", str(number)))
            made = self.seating(event_id, body, request_id=f"{key}-seating-{number}")
            ids += [str(section["id"]) for section in made["sections"]]
        self._tier(event_id, ids[0], key)
        self._open(event_id, key)
        return Show(self.organization_id, event_id, tuple(ids))

    def seating(self, event_id: str, config: dict[str, Any], *, request_id: str) -> dict[str, Any]:
        """Lay out seats of an event; gives the answer."""
        return self.organizer.post(f"/api/v1/events/{event_id}/seating", config, request_id=request_id)

    def event(self, name: str) -> tuple[str, str]:
        """Make an event; gives its id, and what keys of requests about it begin with."""
        key = f"bench-{next(self._numbers)}-{name}"
        start = (datetime.now(UTC) + timedelta(days=DAYS_AHEAD)).replace(microsecond=0)
        event = {"venue_id": self._venue_id, "name": f"Measured {name}", "starts_at": start.isoformat()}
        made = self.organizer.post("/api/v1/events?allow_overlap=true", event, request_id=f"{key}-event")
        return str(made["event"]["id"]), key

    def _tier(self, event_id: str, section_id: str, key: str) -> str:
        tier = {
            "section_id": section_id,
            "name": "Standard",
            "base_price": {"currency_code": "EUR", "amount": "45.00"},
            "service_fee": {"currency_code": "EUR", "amount": "3.50"},
            "tax_rate": "0.09",
        }
        made = self.organizer.post(f"/api/v1/events/{event_id}/pricing", tier, request_id=f"{key}-tier")
        return str(made["price_tier"]["id"])

    def _open(self, event_id: str, key: str) -> None:
        for action in ("publish", "start-sales"):
            self.organizer.post(f"/api/v1/events/{event_id}/{action}", {}, request_id=f"{key}-{action}")

    def place(self, show: Show) -> str:
        """Place a hold on one place of the event's first section, for an hour; give its id."""
        body = {"quantity": 1, "hold_ttl_seconds": HOLD_TTL_SECONDS}
        path = f"/api/v1/capacity/{show.section_ids[0]}/reserve"
        return str(self.buyer_api.post(path, body, request_id=f"bench-first-{show.event_id}")["hold"]["id"])

    def totals(self, show: Show) -> dict[str, int]:
        """Read the event's counters as an organizer sees them."""
        answer = self.organizer.get(f"/api/v1/events/{show.event_id}/capacity/total")
        totals = answer.get("totals", answer)
        return {name: int(totals.get(name, 0)) for name in ("total", "held", "pending", "sold")}
