"""The table of roles and the contracts speak of the same permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.common.errors import Reason
from holdfast.common.permissions import ALL, ROLES

from .contracts import REPOSITORY, policy

if TYPE_CHECKING:
    from .contracts import Contracts

NAMED_ROLES = {"platform_admin", "owner", "admin", "organizer", "box_office", "scanner", "analyst", "buyer", "service"}


def test_every_permission_is_asked_for_somewhere(contracts: Contracts) -> None:
    by_contract = {policy(method).permission for method in contracts.methods()}
    code = "\n".join(file.read_text() for file in (REPOSITORY / "services").rglob("*.py"))
    unused = {name for name in ALL if name not in by_contract and f'"{name}"' not in code}
    assert not unused


def test_every_role_has_known_permissions_only() -> None:
    assert set(ROLES) == NAMED_ROLES
    assert all(permissions and permissions <= ALL for permissions in ROLES.values())


def test_every_rpc_with_a_permission_can_be_called_by_somebody(contracts: Contracts) -> None:
    for method in contracts.methods():
        wanted = policy(method).permission
        assert not wanted or any(wanted in permissions for permissions in ROLES.values()), method.full_name


def test_the_reasons_of_the_code_are_those_of_the_contract(contracts: Contracts) -> None:
    [declared] = [enum for enum in contracts.enums() if enum.full_name.endswith("Error.Reason")]
    assert {reason.value for reason in Reason} == {value.name for value in declared.values if value.number}
