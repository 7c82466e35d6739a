"""The services of the contract, found in the generated modules as they are installed: nowhere is a list of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import holdfast.api

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor


def contract_services(service: str | None = None) -> tuple[ServiceDescriptor, ...]:
    """Give every gRPC service of the contract, or those that one service of the mesh serves (`events`, …)."""
    names: set[str] = set()
    for root in holdfast.api.__path__:
        for path in Path(root).rglob("*_service_pb2.py"):
            names.add(".".join(("holdfast", "api", *path.relative_to(root).with_suffix("").parts)))
    found: list[ServiceDescriptor] = []
    for name in sorted(names):
        if service is not None and not name.startswith(f"holdfast.api.{service}."):
            continue
        found.extend(importlib.import_module(name).DESCRIPTOR.services_by_name.values())
    return tuple(found)
