"""What a mesh remembers from one start to the next: its directory, ports, passwords and demo data."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

VERSION = 1
ROLES = (
    "events_owner",
    "events_service",
    "events_relay",
    "capacity_owner",
    "capacity_service",
    "capacity_relay",
    "capacity_sweeper",
    "pricing_owner",
    "pricing_service",
    "pricing_relay",
)


class StateUnreadableError(Exception):
    """The state file is not one; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a state directory."""

    root: Path

    @property
    def state(self) -> Path:
        """What is remembered: ports, passwords, demo data."""
        return self.root / "state.json"

    @property
    def runtime(self) -> Path:
        """What runs now; gone after an orderly stop."""
        return self.root / "runtime.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    @property
    def identities(self) -> Path:
        """The mesh's certificate authority and certificates."""
        return self.root / "identities"

    @property
    def issuer(self) -> Path:
        """The development token issuer's keys."""
        return self.root / "issuer"

    def ready(self) -> "Layout":
        """Make the directories, for their owner's eyes only, and return the layout itself."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.logs, self.identities, self.issuer):
            directory.mkdir(mode=0o700, exist_ok=True)
        return self


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo data: ids of what `seed` made. Empty ids are not made yet."""

    generation: int = 1
    start_time: str = ""
    organization_id: str = ""
    venue_id: str = ""
    event_id: str = ""
    section_id: str = ""
    price_tier_id: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered. `ports` by the names of ports.py, `passwords` by role, `dsns` for whoever looks."""

    ports: Mapping[str, int] = field(default_factory=dict)
    passwords: Mapping[str, str] = field(default_factory=dict)
    dsns: Mapping[str, str] = field(default_factory=dict)
    page_token_key: str = ""
    demo: Demo = field(default_factory=Demo)


def load(layout: Layout) -> State:
    """Read the state; a fresh one with new secrets when there is none. Raises StateUnreadableError."""
    try:
        content: dict[str, Any] = json.loads(layout.state.read_text())
        if content.pop("version") != VERSION:
            raise StateUnreadableError(f"{layout.state} is of another version; use that version, or `holdfast reset`")
        demo = Demo(**content.pop("demo"))
        state = State(demo=demo, **content)
    except FileNotFoundError:
        state = State()
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadableError(f"{layout.state} cannot be read; restore it, or `holdfast reset`") from error
    passwords = {role: state.passwords.get(role) or secrets.token_urlsafe(24) for role in ROLES}
    return replace(state, passwords=passwords, page_token_key=state.page_token_key or secrets.token_urlsafe(48))


def save(layout: Layout, state: State) -> None:
    """Write the state so that it is there whole or as it was before, readable by its owner only."""
    write_private(layout.state, json.dumps({"version": VERSION} | asdict(state), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one that only its owner can read."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
