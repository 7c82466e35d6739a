"""`python -m holdfast.events serve | migrate | relay`."""

from __future__ import annotations

import argparse

from holdfast.common import logging, service
from holdfast.common.migrations_command import migrate
from holdfast.common.relay_app import RelayApp
from holdfast.common.settings import MeshSettings, load
from holdfast.events.app import EventsApp, outbox_source
from holdfast.events.outside import SERVICE
from holdfast.events.settings import EventsSettings
from holdfast.events.store.tables import SCHEMA


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.events", description="Holdfast's events service")
    parser.add_argument(
        "command",
        choices=("serve", "migrate", "relay"),
        help="serve: answer RPCs, relay messages, keep time; migrate: bring the schema up to date; relay: relay alone",
    )
    command = parser.parse_args().command
    if command == "migrate":
        migrate(EventsSettings, schema=SCHEMA)
        return
    mesh, settings = load(MeshSettings, EventsSettings)
    logging.configure(service=SERVICE, level=mesh.log_level, format=mesh.log_format)
    if command == "serve":
        service.run(lambda: EventsApp(mesh, settings))
    else:
        service.run(lambda: RelayApp(mesh, settings, schema=SCHEMA, source=outbox_source))


if __name__ == "__main__":
    main()
