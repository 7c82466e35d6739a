"""Page tokens open only the list that they were made for."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from holdfast.api.capacity.v1 import hold_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.pagination import CursorValue, PageTokens, filters_of, page_size

TOKENS = PageTokens(SecretStr("k" * 32))
CURSOR: list[CursorValue] = ["2026-05-01T12:00:00Z", "0190163d-8694-739b-aea5-966c26f8ad90", 7, None, True]


def request(**fields: object) -> hold_service_pb2.ListHoldsRequest:
    return hold_service_pb2.ListHoldsRequest(**fields)  # type: ignore[arg-type] # the fields vary


def refused(token: str, filters: bytes, tokens: PageTokens = TOKENS) -> bool:
    with pytest.raises(DomainError) as error:
        tokens.decode(token, filters)
    return error.value.reason is Reason.PAGE_TOKEN_INVALID


def test_a_token_gives_its_cursor_back() -> None:
    filters = filters_of(request(customer_id="c"), organization_id="o")
    assert TOKENS.decode(TOKENS.encode(CURSOR, filters), filters) == CURSOR


def test_the_first_page_has_no_cursor() -> None:
    assert TOKENS.decode("", b"") is None


def test_paging_fields_are_not_part_of_the_filters() -> None:
    first = filters_of(request(customer_id="c", page_size=5, with_total=True), organization_id="o")
    second = filters_of(request(customer_id="c", page_size=50, page_token="t"), organization_id="o")
    assert first == second


@pytest.mark.parametrize(
    "other",
    [
        filters_of(request(customer_id="d"), organization_id="o"),
        filters_of(request(customer_id="c"), organization_id="p"),
        filters_of(hold_service_pb2.GetHoldRequest(), organization_id="o"),
    ],
)
def test_a_token_of_another_list_is_refused(other: bytes) -> None:
    token = TOKENS.encode(CURSOR, filters_of(request(customer_id="c"), organization_id="o"))
    assert refused(token, other)


def test_a_token_of_another_key_is_refused() -> None:
    assert refused(TOKENS.encode(CURSOR, b"f"), b"f", PageTokens("x" * 32))


def test_any_changed_byte_is_noticed() -> None:
    token = TOKENS.encode(CURSOR, b"f")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for position in range(len(raw)):
        changed = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        assert refused(base64.urlsafe_b64encode(changed).decode().rstrip("="), b"f")


@settings(deadline=None)
@given(st.text(max_size=1100))
def test_no_text_breaks_the_reader(text: str) -> None:
    if text:
        assert refused(text, b"f")


@pytest.mark.parametrize(("asked", "given_"), [(0, 20), (1, 1), (200, 200)])
def test_page_sizes(asked: int, given_: int) -> None:
    assert page_size(request(page_size=asked)) == given_


@pytest.mark.parametrize("asked", [-1, 201])
def test_page_sizes_out_of_range_are_refused(asked: int) -> None:
    with pytest.raises(DomainError) as error:
        page_size(request(page_size=asked))
    assert error.value.violations[0].field == "page_size"
