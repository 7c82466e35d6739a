"""Who consumes a message is in the contract: what a service subscribes to says so."""

from __future__ import annotations

from holdfast.api.capacity.v1 import messages_pb2 as capacity_messages
from holdfast.api.common.v1 import policy_pb2
from holdfast.api.events.v1 import messages_pb2 as event_messages
from holdfast.api.pricing.v1 import messages_pb2 as pricing_messages
from holdfast.capacity.consumers import ControlsConsumer
from holdfast.common.message import type_name
from holdfast.events.consumers import InventoryConsumer


def declared_consumers() -> dict[str, frozenset[str]]:
    """Who the contract says consumes a message, by `<stream>.<type>`."""
    modules = {"events": event_messages, "capacity": capacity_messages, "pricing": pricing_messages}
    return {
        f"{stream}.{type_name(name)}": frozenset(message.GetOptions().Extensions[policy_pb2.publication].consumers)
        for stream, module in modules.items()
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
    }


def test_what_a_service_consumes_the_contract_says_it_does() -> None:
    declared = declared_consumers()
    subjects = {
        "capacity": ControlsConsumer(engine=None, wake=lambda: None).consumer().subjects,  # type: ignore[arg-type] # only described
        "events": InventoryConsumer(database=None, clock=None, outside=None).consumer().subjects,  # type: ignore[arg-type] # only described
    }
    for service, consumed in subjects.items():
        assert consumed
        for subject in consumed:
            stream, _, _, kind = subject.split(".")
            assert service in declared[f"{stream}.{kind}"], subject
