"""Log lines: one JSON object each, with their context, without secrets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog

from holdfast.common.logging import REDACTED, configure, redact, redact_text
from holdfast.common.mesh_identity import Principal
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.telemetry import span

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = tuple(root.handlers), root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    for handler in tuple(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("restored")
def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure(service="capacity", level="info", format="json")
    structlog.get_logger().info("hold placed", hold_id="h", quantity=2)
    (line,) = lines(capsys)
    assert line["message"] == "hold placed"
    assert (line["service"], line["level"], line["hold_id"], line["quantity"]) == ("capacity", "info", "h", 2)
    assert line["time"].endswith("Z")


@pytest.mark.usefixtures("restored")
def test_the_standard_librarys_lines_look_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure(service="capacity", level="info", format="json")
    logging.getLogger("somebody").warning("it took %d s", 3)
    (line,) = lines(capsys)
    assert (line["message"], line["service"], line["level"]) == ("it took 3 s", "capacity", "warning")
    assert line["logger"] == "somebody"


@pytest.mark.usefixtures("restored")
def test_lines_below_the_level_do_not_appear(capsys: pytest.CaptureFixture[str]) -> None:
    configure(service="capacity", level="info", format="json")
    structlog.get_logger().debug("nothing")
    logging.getLogger("somebody").debug("nothing")
    assert lines(capsys) == []


@pytest.mark.usefixtures("restored")
def test_lines_of_a_call_name_its_organization_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure(service="capacity", level="info", format="json")
    principal = Principal(subject="s", organization_id="org-1", roles=frozenset())
    token = current_call.set(Call(principal=principal, peer="gateway", deadline=0))
    try:
        with span("work", traceparent=TRACEPARENT):
            structlog.get_logger().info("inside")
    finally:
        current_call.reset(token)
    structlog.get_logger().info("outside")
    inside, outside = lines(capsys)
    assert (inside["organization_id"], inside["trace_id"]) == ("org-1", "0af7651916cd43dd8448eb211c80319c")
    assert "organization_id" not in outside
    assert "trace_id" not in outside


@pytest.mark.usefixtures("restored")
def test_a_traceback_is_in_its_line_without_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    configure(service="capacity", level="info", format="json")
    structlog.get_logger().error("failed", exc_info=ValueError("cannot reach postgresql://user:hunter2@host/db"))
    (line,) = lines(capsys)
    assert "ValueError" in line["exception"]
    assert "hunter2" not in str(line)


@pytest.mark.parametrize(
    "key", ["authorization", "Authorization", "token", "page_token", "password", "database_dsn", "client_secret",
            "api_key", "cookie", "private_key"]
)  # fmt: skip
def test_values_under_telling_keys_never_appear(key: str) -> None:
    event = redact(None, "", {"event": "x", key: "hunter2", "deep": {"list": [{key: "hunter2"}]}})
    assert event[key] == REDACTED
    assert "hunter2" not in str(event)


def test_passwords_in_urls_and_bearer_tokens_never_appear() -> None:
    assert redact_text("nats://user:hunter2@host:4222 and rediss://:hunter2@cache") == (
        f"nats://user:{REDACTED}@host:4222 and rediss://:{REDACTED}@cache"
    )
    assert redact_text("sent Bearer abc.def-ghi") == f"sent Bearer {REDACTED}"
    assert redact_text("http://host:80/path") == "http://host:80/path"


def test_an_ordinary_value_stays() -> None:
    event = {"event": "x", "hold_id": "h", "seats": ["A-12"], "missing": None}
    assert redact(None, "", dict(event)) == event
