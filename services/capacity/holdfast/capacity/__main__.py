"""`python -m holdfast.capacity serve | migrate | relay`."""

from __future__ import annotations

import argparse

from holdfast.capacity.app import SCHEMA, SERVICE, CapacityApp
from holdfast.capacity.settings import CapacitySettings
from holdfast.capacity.store.journal import JournalSource
from holdfast.common import logging, service
from holdfast.common.migrations_command import migrate
from holdfast.common.relay_app import RelayApp
from holdfast.common.settings import MeshSettings, load


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.capacity", description="Holdfast's capacity service")
    parser.add_argument(
        "command",
        choices=("serve", "migrate", "relay"),
        help="serve: answer RPCs, relay the journal, tidy; migrate: bring the schema up to date; relay: relay alone",
    )
    command = parser.parse_args().command
    if command == "migrate":
        migrate(CapacitySettings, schema=SCHEMA)
        return
    mesh, settings = load(MeshSettings, CapacitySettings)
    logging.configure(service=SERVICE, level=mesh.log_level, format=mesh.log_format)
    if command == "serve":
        service.run(lambda: CapacityApp(mesh, settings))
    else:
        service.run(lambda: RelayApp(mesh, settings, schema=SCHEMA, source=JournalSource))


if __name__ == "__main__":
    main()
