"""`python -m holdfast.gateway serve`."""

from __future__ import annotations

import sys
from typing import Final

from holdfast.common import logging, service
from holdfast.common.settings import MeshSettings, load
from holdfast.gateway.app import NAME, GatewayApp
from holdfast.gateway.settings import GatewaySettings

USAGE: Final = "usage: python -m holdfast.gateway serve\n"


def main(arguments: list[str]) -> None:
    """Run the gateway until it is told to stop."""
    if arguments != ["serve"]:
        sys.stderr.write(USAGE)
        raise SystemExit(2)
    mesh, settings = load(MeshSettings, GatewaySettings)
    logging.configure(service=NAME, level=mesh.log_level, format=mesh.log_format)
    service.run(lambda: GatewayApp(mesh, settings))


if __name__ == "__main__":
    main(sys.argv[1:])
