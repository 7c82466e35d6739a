"""The command line that a newcomer copies."""

from __future__ import annotations

import shlex

from holdfast.local import seed
from holdfast.local.state import Demo

DEMO = Demo(organization_id="o", event_id="e", section_id="section-1", price_tier_id="tier-1")


def test_it_is_one_line_that_places_and_confirms() -> None:
    line = seed.curl("http://127.0.0.1:8080", DEMO, "a.b.c")
    assert "\n" not in line
    words = shlex.split(line.replace("$(", " ").replace(")", " "))
    assert words.count("curl") == 2
    assert "http://127.0.0.1:8080/api/v1/capacity/section-1/reserve" in words
    assert "http://127.0.0.1:8080/api/v1/holds/$hold/confirm" in words
    assert "Authorization: Bearer a.b.c" in words
