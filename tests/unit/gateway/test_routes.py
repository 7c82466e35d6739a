"""Paths of the contract, found and matched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.api import annotations_pb2

from holdfast.common.contracts import contract_services
from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.outside import OUTSIDE, outside
from holdfast.gateway.routes import RouteConflict, Routes
from tests.support.little_contract import little_contract

if TYPE_CHECKING:
    from pathlib import Path

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


STREAM = """
message WatchRequest {}
message WatchResponse {}
service WatchService {
  rpc Watch(WatchRequest) returns (stream WatchResponse) { option (google.api.http) = {get: "/api/v1/watch"}; }
}
"""


def test_a_stream_has_no_place_in_rest(tmp_path: Path) -> None:
    service = little_contract("watching", STREAM, tmp_path).services_by_name["WatchService"]
    with pytest.raises(RouteConflict, match=r"WatchService\.Watch is a stream"):
        Routes([service])


@pytest.mark.parametrize("template", OUTSIDE)
def test_a_path_whose_work_is_outside_says_where(template: str) -> None:
    path = template.replace("{", "v-").replace("}", "").encode()
    with pytest.raises(DomainError):
        ROUTES.match("POST", path)  # no contract binds it, or the table would hide nothing
    refusal = outside(path)
    assert refusal is not None
    assert (refusal.reason, dict(refusal.metadata)) == (Reason.OUTSIDE_THE_MESH, {"path": template})
    assert "messages" in refusal.message


@pytest.mark.parametrize(
    "path", [b"/api/v1/notifications/", b"/api/v1/notifications/a/b/read", b"/api/v1/users", b"/api/v1/notification"]
)
def test_other_paths_are_not_outside(path: bytes) -> None:
    assert outside(path) is None


def test_mesh_only_rpcs_have_no_path() -> None:
    bound = {binding.rpc.name for binding in ROUTES.bindings}
    assert not bound & {"LockPrices", "ApplyEventControls", "GetEventControls"}
