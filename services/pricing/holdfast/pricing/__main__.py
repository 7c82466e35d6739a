"""`python -m holdfast.pricing serve | migrate | relay`."""

from __future__ import annotations

import argparse

from holdfast.common import logging, service
from holdfast.common.migrations_command import migrate
from holdfast.common.relay_app import RelayApp
from holdfast.common.settings import MeshSettings, load
from holdfast.pricing.app import SCHEMA, SERVICE, PricingApp, outbox_source
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
    if command == "serve":
        service.run(lambda: PricingApp(mesh, settings))
    else:
        service.run(lambda: RelayApp(mesh, settings, schema=SCHEMA, source=outbox_source))


if __name__ == "__main__":
    main()
