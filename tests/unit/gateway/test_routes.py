"""Paths of the contract, found and matched."""

from __future__ import annotations

import pytest
from google.api import annotations_pb2

from holdfast.common.contracts import contract_services
from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.routes import Routes

ROUTES = Routes(contract_services())


def test_every_binding_of_the_contract_matches_itself() -> None:
    count = 0
    for service in contract_services():
        for rpc in service.methods:
            if not rpc.GetOptions().HasExtension(annotations_pb2.http):
                continue
            rule = rpc.GetOptions().Extensions[annotations_pb2.http]
            for each in (rule, *rule.additional_bindings):
                kind = each.WhichOneof("pattern")
                template = getattr(each, kind)
                path = template.replace("{", "v-").replace("}", "")
                binding, values = ROUTES.match(kind.upper(), path.encode())
                assert (binding.rpc.full_name, binding.template) == (rpc.full_name, template)
                assert len(values) == template.count("{")
                count += 1
    assert count == len(ROUTES.bindings) > 40


@pytest.mark.parametrize(
    ("method", "path", "rpc", "values"),
    [
        ("GET", "/api/v1/events/by-slug/jazz", "GetEvent", ["jazz"]),
        ("GET", "/api/v1/events/by-slug", "GetEvent", ["by-slug"]),
        ("HEAD", "/api/v1/events/e1", "GetEvent", ["e1"]),
        ("POST", "/api/v1/events/e1/inventory:verify", "VerifyInventory", ["e1"]),
        ("GET", "/api/v1/events/a%20b%C3%A9", "GetEvent", ["a bé"]),
        ("GET", "/api/event/e1", "GetEvent", ["e1"]),
        ("GET", "/api/v1/events/e1/schedules/s1", "GetSchedule", ["e1", "s1"]),
    ],
)
def test_a_path_reaches_its_rpc(method: str, path: str, rpc: str, values: list[str]) -> None:
    binding, found = ROUTES.match(method, path.encode())
    assert (binding.rpc.name, found) == (rpc, values)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "api/v1/events",
        "/api/v1/evnts",
        "/api/v1/events/",
        "/api/v1//events",
        "/api/v1/events/../venues",
        "/api/v1/events/%2e%2e/venues",
        "/api/v1/events/%2e%2e%2fvenues",
        "/api/v1/events/a%2fb",
        "/api/v1/events/a%5cb",
        "/api/v1/events/a%00",
        "/api/v1/events/%ff",
        "/api/v1/events/%zz",
        "/api/v1/events/%",
        "/API/v1/events",
        "/api/v1/events/e1/inventory:destroy",
        "/api/v1/events" + "/x" * 50,
    ],
)
def test_a_path_that_is_not_there_is_not_found(path: str) -> None:
    with pytest.raises(DomainError) as caught:
        ROUTES.match("GET", path.encode())
    assert caught.value.reason is Reason.PATH_NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/events/e1", "DELETE, GET, PATCH, PUT"),
        ("GET", "/api/v1/events/e1/publish", "POST"),
        ("OPTIONS", "/api/v1/holds", "GET"),
        ("BREW", "/api/v1/holds", "GET"),
    ],
)
def test_another_method_is_told_which_there_are(method: str, path: str, allowed: str) -> None:
    with pytest.raises(DomainError) as caught:
        ROUTES.match(method, path.encode())
    assert caught.value.reason is Reason.METHOD_NOT_ALLOWED
    assert caught.value.metadata == {"allowed": allowed}


def test_mesh_only_rpcs_have_no_path() -> None:
    bound = {binding.rpc.name for binding in ROUTES.bindings}
    assert not bound & {"LockPrices", "ApplyEventControls", "GetEventControls"}
