"""Who waits for a call that the gateway makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Caller:
    """One request over REST. `gone` tells whether its client has closed the connection."""

    traceparent: str
    recorded: bool
    gone: Callable[[], bool]
