"""What the contract promises and nobody does yet: a list that can only shrink.

The list is compared with what the services' composition roots really register. They are made, not started: no server,
no database.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import SecretStr

from holdfast.capacity.app import CapacityApp
from holdfast.capacity.settings import CapacitySettings
from holdfast.common.authority import create_authority, issue
from holdfast.common.contracts import contract_services
from holdfast.common.rpc_fields import not_built
from holdfast.common.settings import MeshSettings
from holdfast.events.app import EventsApp
from holdfast.events.settings import EventsSettings
from holdfast.pricing.app import PricingApp
from holdfast.pricing.settings import PricingSettings

from .contracts import is_output_only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

    from holdfast.common.rpc_server import RpcServer

LIST: Final = Path(__file__).with_name("not_built.txt")
PREFIX: Final = "holdfast.api."
DSN: Final = SecretStr("postgresql://nobody:nothing@127.0.0.1:1/none")


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RpcServer]:
    """The servers of the services, as their composition roots make them."""
    certificates = tmp_path_factory.mktemp("certificates")
    create_authority(certificates)
    for name in ("events", "capacity", "pricing"):
        issue(certificates, name)
    mesh = MeshSettings(identity_dir=certificates, page_token_key=SecretStr("k" * 32))
    return {
        "events": EventsApp(mesh, EventsSettings(database_dsn=DSN, relay_dsn=DSN)).server,
        "capacity": CapacityApp(mesh, CapacitySettings(database_dsn=DSN, relay_dsn=DSN, sweeper_dsn=DSN)).server,
        "pricing": PricingApp(mesh, PricingSettings(database_dsn=DSN, relay_dsn=DSN)).server,
    }


def listed() -> list[str]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def fields_not_built() -> Iterator[str]:
    """Give the fields of requests that callers may set and that are refused, as `<message>.<field>`."""
    seen: set[str] = set()

    def walk(message: Descriptor) -> Iterator[str]:
        if message.full_name in seen or not message.full_name.startswith(PREFIX):
            return
        seen.add(message.full_name)
        for field in message.fields:
            if not_built(field):
                yield f"field {field.full_name.removeprefix(PREFIX)}"
            elif field.message_type is not None and not is_output_only(field):
                yield from walk(field.message_type)

    for service in contract_services():
        for rpc in service.methods:
            yield from walk(rpc.input_type)


def rpcs_not_built(servers: dict[str, RpcServer]) -> Iterator[str]:
    for server in servers.values():
        yield from (f"rpc {rpc.removeprefix(PREFIX)}" for rpc in server.not_built)


def test_every_service_of_the_contract_is_registered_by_its_own_process(servers: dict[str, RpcServer]) -> None:
    for name, server in servers.items():
        assert set(server.services) == {service.full_name for service in contract_services(name)}
    registered = {service for server in servers.values() for service in server.services}
    assert registered == {service.full_name for service in contract_services()}


def test_the_list_is_in_order_and_names_everything_once() -> None:
    assert listed() == sorted(set(listed()))


def test_what_is_not_built_is_exactly_what_the_list_says(servers: dict[str, RpcServer]) -> None:
    found = {*rpcs_not_built(servers), *fields_not_built()}
    built = sorted(set(listed()) - found)
    missing = sorted(found - set(listed()))
    assert not built, f"built, or gone from the contract: take these lines out of {LIST.name}\n" + "\n".join(built)
    assert not missing, (
        f"in the contract, but no servicer has a method of the RPC's name in snake_case, or the field is marked "
        f"not_built: build them. {LIST.name} only shrinks; a new contract that is published before its code adds its "
        "lines in the commit that publishes it\n" + "\n".join(missing)
    )
