"""`python -m holdfast.pricing serve | migrate | relay`."""

from __future__ import annotations

import argparse

from holdfast.common import logging, service
from holdfast.common.migrations_command import migrate
from holdfast.common.settings import MeshSettings, load
from holdfast.pricing.app import SCHEMA, SERVICE, PricingApp, RelayApp
from holdfast.pricing.settings import PricingSettings


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.pricing", description="Holdfast's pricing service")
    parser.add_argument(
        "command",
        choices=("serve", "migrate", "relay"),
        help="serve: answer RPCs and relay messages; migrate: bring the schema up to date; relay: relay alone",
    )
    command = parser.parse_args().command
    if command == "migrate":
        migrate(PricingSettings, schema=SCHEMA)
        return
    mesh, settings = load(MeshSettings, PricingSettings)
    logging.configure(service=SERVICE, level=mesh.log_level, format=mesh.log_format)
    service.run((lambda: PricingApp(mesh, settings)) if command == "serve" else (lambda: RelayApp(mesh, settings)))


if __name__ == "__main__":
    main()
