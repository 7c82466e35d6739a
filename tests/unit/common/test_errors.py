"""The reasons, their statuses, and their way over the wire."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason, invalid
from holdfast.common.status import CODES, details_metadata, from_rpc_error, from_status, to_status

PROTO = Path(__file__).parents[3] / "protos/holdfast/api/common/v1/error_reason.proto"


def documented_statuses() -> dict[str, str]:
    """The status that begins each reason's comment."""
    statuses: dict[str, str] = {}
    comment: list[str] = []
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("//").strip())
            continue
        match = re.fullmatch(r"([A-Z_]+) = \d+;", text)
        if match and comment:
            statuses[match[1]] = comment[0].partition(" ")[0].removesuffix(".")
        comment = []
    statuses.pop("REASON_UNSPECIFIED", None)
    return statuses


def test_the_reasons_are_those_of_the_contract() -> None:
    published = set(error_reason_pb2.Error.Reason.keys()) - {"REASON_UNSPECIFIED"}
    assert {reason.name for reason in Reason} == published
    assert all(reason.name == reason.value for reason in Reason)


def test_every_reason_has_the_status_that_its_comment_states() -> None:
    documented = documented_statuses()
    assert len(documented) == len(Reason) > 60
    assert {reason.value: CODES[reason].name for reason in Reason} == documented


def test_an_error_survives_the_wire() -> None:
    error = DomainError(
        Reason.INSUFFICIENT_CAPACITY,
        "3 places are free",
        metadata={"section_id": "s", "available": "3"},
        violations=[FieldViolation("lines[2].quantity", "too many")],
        retry_after_seconds=1.5,
    )
    back = from_status(status_pb2.Status.FromString(to_status(error).SerializeToString()))
    assert back is not None
    assert (back.reason, back.message, dict(back.metadata)) == (error.reason, error.message, dict(error.metadata))
    assert back.violations == error.violations
    assert back.retry_after_seconds == 1.5


def test_a_status_names_the_domain_and_has_only_the_details_that_it_needs() -> None:
    status = to_status(DomainError(Reason.HOLD_NOT_FOUND, "no such hold", metadata={"hold_id": "x"}))
    assert status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert len(status.details) == 1
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "holdfast"


@pytest.mark.parametrize(
    "status",
    [
        status_pb2.Status(code=5, message="x"),
        status_pb2.Status(code=13),
    ],
)
def test_a_status_without_our_error_info_is_no_error_of_ours(status: status_pb2.Status) -> None:
    assert from_status(status) is None


def test_another_domains_reason_is_not_ours() -> None:
    status = status_pb2.Status(code=5)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="HOLD_NOT_FOUND", domain="elsewhere"))
    assert from_status(status) is None


def test_a_reason_of_a_later_version_is_not_taken_for_another() -> None:
    status = status_pb2.Status(code=5)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="SOMETHING_NEW", domain="holdfast"))
    assert from_status(status) is None


def test_garbage_in_the_trailing_metadata_is_no_error_of_ours() -> None:
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), metadata)
    assert from_rpc_error(error) is None


def test_a_failed_call_gives_its_error_back() -> None:
    metadata = grpc.aio.Metadata(details_metadata(to_status(invalid("section.total", "must be positive"))))
    error = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), metadata))
    assert error is not None
    assert error.reason is Reason.VALIDATION_FAILED
    assert error.violations == (FieldViolation("section.total", "must be positive"),)


def test_metadata_of_an_error_cannot_be_changed() -> None:
    error = DomainError(Reason.INTERNAL, "x", metadata={"trace_id": "1"})
    with pytest.raises(TypeError):
        error.metadata["trace_id"] = "2"  # type: ignore[index] # that is the mistake
