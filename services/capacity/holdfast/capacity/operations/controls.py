"""Taking over an event's controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.planning import apply_controls

if TYPE_CHECKING:
    from holdfast.api.events.v1 import event_pb2
    from holdfast.capacity.domain.controls import EventControls
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit


@dataclass(frozen=True, slots=True)
class ControlsApplied:
    """The inventory version from which on the controls hold, and the version of the controls in force."""

    version: int
    controls_version: int
    unfinished: bool


@dataclass(frozen=True, slots=True)
class TakeOverControls:
    """Takes over newer controls. `section_id` names the first section, should the controls ask for one.

    Raises VALIDATION_FAILED when it is made of a message that cannot be read.
    """

    message: event_pb2.EventControls
    section_id: str
    _controls: EventControls = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_controls", convert.controls_of(self.message))

    def need(self, needs: Needs) -> None:
        """Ask for the event's row, made if there is none, and all sections."""
        needs.make = True
        needs.all_sections = True

    def decide(self, unit: Unit) -> ControlsApplied:
        """Take them over; older ones change nothing."""
        inventory = unit.inventory
        if not apply_controls(inventory, self._controls, section_id=self.section_id):
            return ControlsApplied(inventory.version, inventory.controls.version, unfinished=False)
        unit.controls = self.message
        return ControlsApplied(inventory.next_version, self.message.version, unfinished=bool(inventory.voids))
