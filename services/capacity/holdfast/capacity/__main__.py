"""`python -m holdfast.capacity serve | migrate | relay`."""

from __future__ import annotations

import argparse

from holdfast.capacity.app import SCHEMA, SERVICE, CapacityApp, RelayApp
from holdfast.capacity.settings import CapacitySettings
from holdfast.common import logging, service
from holdfast.common.migrations_command import migrate
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
    service.run((lambda: CapacityApp(mesh, settings)) if command == "serve" else (lambda: RelayApp(mesh, settings)))


if __name__ == "__main__":
    main()
