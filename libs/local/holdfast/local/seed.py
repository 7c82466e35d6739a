"""Demo data, made through the public API as an organizer would: a venue, an event on sale, sections and prices."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from holdfast.local import tokens
from holdfast.local.rest import Api, CallFailedError
from holdfast.local.state import Demo
from holdfast.local.tokens import Bearer

ORGANIZATION_NAME = "Harbour Nights"
DAYS_AHEAD = 30
SEED_TOKEN_MINUTES = 15
PRINTED_TOKEN_MINUTES = 12 * 60
BUYER = "demo-buyer"
ORGANIZER = "demo-organizer"
HOLD_QUANTITY = 2
NOT_FOUND = 404

SECTIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    (
        {"name": "Floor", "code": "FL", "total": 500, "max_per_order": 10},
        {"name": "Floor, standing", "base_price": "45.00", "service_fee": "3.50", "tax_rate": "0.09"},
    ),
    (
        {"name": "Balcony", "code": "BA", "total": 150, "max_per_order": 6},
        {"name": "Balcony, free seating", "base_price": "79.00", "service_fee": "5.00", "tax_rate": "0.09"},
    ),
)


@dataclass(frozen=True, slots=True)
class Seeder:
    """Makes the demo data. `token` mints one for a bearer; `remember` keeps progress across a crash."""

    gateway: str
    token: Callable[[Bearer, int], str]
    remember: Callable[[Demo], None]

    def seed(self, demo: Demo, *, now: datetime) -> Demo:
        """Return the demo data, found again or made. Raises CallFailedError.

        Every request has a fixed id and what it says is remembered before it is sent, so that a run that was cut off
        is taken up where it ended. An event that can no longer be bought from is left alone, and another one made.
        """
        if demo.event_id and self._on_sale(demo, now):
            return demo
        if demo.event_id:
            demo = Demo(generation=demo.generation + 1, organization_id=demo.organization_id, venue_id=demo.venue_id)
        if not demo.start_time or datetime.fromisoformat(demo.start_time) <= now + timedelta(days=1):
            start = (now + timedelta(days=DAYS_AHEAD)).replace(hour=19, minute=0, second=0, microsecond=0)
            generation = demo.generation + 1 if demo.start_time else demo.generation
            demo = replace(demo, start_time=start.isoformat(), generation=generation)
        self.remember(demo)
        if not demo.organization_id:
            demo = replace(demo, organization_id=self._organization())
            self.remember(demo)
        api = self._organizer(demo)
        if not demo.venue_id:
            demo = replace(demo, venue_id=self._venue(api))
            self.remember(demo)
        demo = self._event(api, demo)
        self.remember(demo)
        return demo

    def _on_sale(self, demo: Demo, now: datetime) -> bool:
        """Tell whether a buyer can still place the hold that we would print."""
        api = self._organizer(demo)
        try:
            event = api.get(f"/api/v1/events/{demo.event_id}")["event"]
            section = api.get(f"/api/v1/capacity/{demo.section_id}")["section"]
        except CallFailedError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        soon = datetime.fromisoformat(demo.start_time) <= now + timedelta(days=1)
        return bool(event["state"] == "ON_SALE") and not soon and int(section.get("available", 0)) >= HOLD_QUANTITY

    def _organizer(self, demo: Demo) -> Api:
        bearer = Bearer(subject=ORGANIZER, organization_id=demo.organization_id, roles=("organizer",))
        return Api(self.gateway, self.token(bearer, SEED_TOKEN_MINUTES))

    def _organization(self) -> str:
        bearer = Bearer(subject="demo-platform", organization_id="", roles=("platform_admin",))
        api = Api(self.gateway, self.token(bearer, SEED_TOKEN_MINUTES))
        made = api.post("/api/v1/organizations", {"name": ORGANIZATION_NAME}, request_id="demo-organization")
        return str(made["organization"]["id"])

    @staticmethod
    def _venue(api: Api) -> str:
        venue = {
            "name": "Pier Hall",
            "kind": "PHYSICAL",
            "time_zone": "Europe/Amsterdam",
            "max_capacity": 800,
            "address": {"lines": ["Pier 4"], "city": "Rotterdam", "country_code": "NL"},
        }
        return str(api.post("/api/v1/venues", venue, request_id="demo-venue")["venue"]["id"])

    @staticmethod
    def _event(api: Api, demo: Demo) -> Demo:
        key = f"demo-{demo.generation}"
        start = datetime.fromisoformat(demo.start_time)
        event = {
            "venue_id": demo.venue_id,
            "name": "Late Tide Sessions",
            "short_description": "Three bands and the sound of the harbour.",
            "starts_at": start.isoformat(),
            "ends_at": (start + timedelta(hours=4)).isoformat(),
            "sales_end_time": start.isoformat(),
        }
        event_id = str(api.post("/api/v1/events?allow_overlap=true", event, request_id=f"{key}-event")["event"]["id"])
        made = []
        for number, (section, tier) in enumerate(SECTIONS, start=1):
            path = f"/api/v1/events/{event_id}"
            section_id = api.post(f"{path}/capacity", section, request_id=f"{key}-section-{number}")["section"]["id"]
            price = {
                "section_id": section_id,
                "name": tier["name"],
                "base_price": {"currency_code": "EUR", "amount": tier["base_price"]},
                "service_fee": {"currency_code": "EUR", "amount": tier["service_fee"]},
                "tax_rate": tier["tax_rate"],
            }
            tier_id = api.post(f"{path}/pricing", price, request_id=f"{key}-tier-{number}")["price_tier"]["id"]
            made.append((str(section_id), str(tier_id)))
        api.post(f"/api/v1/events/{event_id}/publish", {}, request_id=f"{key}-publish")
        api.post(f"/api/v1/events/{event_id}/start-sales", {}, request_id=f"{key}-start-sales")
        section_id, tier_id = made[0]
        return replace(demo, event_id=event_id, section_id=section_id, price_tier_id=tier_id)


def curl(gateway: str, demo: Demo, token: str) -> str:
    """Return one command line for sh that places a hold and confirms it; it needs curl and python3 only."""
    call = "curl -sS -H \"Authorization: Bearer $token\" -H 'Content-Type: application/json'"
    body = f'{{"quantity": {HOLD_QUANTITY}, "price_tier_id": "{demo.price_tier_id}"}}'
    extract = (
        "import json, sys; answer = json.load(sys.stdin); "
        'print(answer["hold"]["id"]) if "hold" in answer else sys.exit(json.dumps(answer))'
    )
    place = f"{call} -d {shlex.quote(body)} {gateway}/api/v1/capacity/{demo.section_id}/reserve"
    confirm = f"{call} -d '{{}}' {gateway}/api/v1/holds/$hold/confirm"
    return f"token={token}; hold=$({place} | python3 -c {shlex.quote(extract)}) && {confirm} && echo"


def buyers_curl(gateway: str, demo: Demo, mint: Callable[[Bearer, int], str]) -> str:
    """Return that command line with a fresh token of a buyer."""
    bearer = Bearer(subject=BUYER, organization_id=demo.organization_id, roles=("buyer",))
    return curl(gateway, demo, mint(bearer, PRINTED_TOKEN_MINUTES))


def minter(issuer: Path) -> Callable[[Bearer, int], str]:
    """Return what mints tokens of an issuer's directory."""
    return lambda bearer, minutes: tokens.mint(issuer, bearer, now=datetime.now(UTC), minutes=minutes)
