"""A process for test_service.py: an app that behaves as its first argument says."""

from __future__ import annotations

import asyncio
import sys

from holdfast.common import logging, service
from holdfast.common.errors import DomainError, Reason, StartRefused


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class App:
    ready = False

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    async def start(self) -> None:
        if self.behaviour == "refuses":
            raise StartRefused("HOLDFAST_CAPACITY_DATABASE_DSN: the role is a superuser")
        if self.behaviour == "fails":
            raise DomainError(Reason.DEPENDENCY_UNAVAILABLE, "no answer", metadata={"dependency": "database"})
        if self.behaviour == "breaks":
            raise RuntimeError("unexpected")
        if self.behaviour == "starts-slowly":
            say("starting")
            await asyncio.Event().wait()
        self.ready = True
        say("started")

    async def stop(self) -> None:
        if self.behaviour == "stops-slowly":
            say("stopping")
            await asyncio.Event().wait()
        say("stopped")


if __name__ == "__main__":
    logging.configure(service="capacity")
    service.run(App(sys.argv[1]))
