"""What is served beside the API: health, metrics, the OpenAPI document and the page that shows it."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.problems import problem
from holdfast.gateway.routes import path_not_found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

SERVICE: Final = "holdfast-gateway"
SERVING: Final = "SERVING"
_JSON: Final = "application/json"
_METHOD_NOT_ALLOWED: Final = 405
_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)


class Readiness:
    """Whether the gateway takes requests, and why not.

    It is ready when it has the token issuer's keys and at least one service says SERVING: a gateway that withdrew
    because one service of three is down would take the other two with it. What each says stands in the answer.
    """

    def __init__(self, *, health: Callable[[], Awaitable[Mapping[str, str]]], keys_ready: Callable[[], bool]) -> None:
        self._health = health
        self._keys_ready = keys_ready
        self.started = False
        self.stopping = False
        self.services: Mapping[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether it is ready as of the last look."""
        return not self.stopping and self._keys_ready() and SERVING in self.services.values()

    @property
    def complete(self) -> bool:
        """Whether everything serves as of the last look."""
        return self.ready and all(state == SERVING for state in self.services.values())

    async def look(self) -> None:
        """Ask the services."""
        self.services = await self._health()
        self.started = self.started or self.ready

    def document(self, status: str) -> dict[str, Any]:
        """Give the answer of a health path."""
        return {
            "status": status,
            "service": SERVICE,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }

    def details(self) -> dict[str, str]:
        """Give what each dependency says."""
        return {**self.services, "token-issuer": SERVING if self._keys_ready() else "UNREACHABLE"}


def operational_app(
    *,
    readiness: Readiness,
    registry: CollectorRegistry | None,
    openapi: bytes | None,
) -> Starlette:
    """Make the application. Without a registry there is no /metrics, without a document no /openapi.json and /docs."""
    routes = _health_routes(readiness)
    if registry is not None:

        async def metrics(_request: Request) -> Response:
            text = await run_in_threadpool(generate_latest, registry)
            return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4, headers={"cache-control": "no-store"})

        routes.append(Route("/metrics", metrics))
    if openapi is not None:
        page, policy = docs_page()

        async def document(_request: Request) -> Response:
            return Response(openapi, media_type=_JSON)

        async def docs(_request: Request) -> Response:
            return Response(page, media_type="text/html", headers=policy)

        routes += [Route("/openapi.json", document), Route("/docs", docs)]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused})


def _health_routes(readiness: Readiness) -> list[Route]:
    async def health(_request: Request) -> Response:
        await readiness.look()
        return _json(readiness.document("healthy" if readiness.complete else "degraded"))

    async def live(_request: Request) -> Response:
        return _json(readiness.document("live"))

    async def ready(_request: Request) -> Response:
        await readiness.look()
        document = readiness.document("ready" if readiness.ready else "not ready")
        return _json({**document, "dependencies": readiness.details()}, ok=readiness.ready)

    async def startup(_request: Request) -> Response:
        if not readiness.started:
            await readiness.look()
        return _json(readiness.document("started" if readiness.started else "starting"), ok=readiness.started)

    return [
        Route("/health", health),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health/startup", startup),
    ]


def docs_page() -> tuple[bytes, dict[str, str]]:
    """Give the page and its headers: only its own script and style run, and only this host is asked."""
    page = resources.files("holdfast.gateway").joinpath("docs.html").read_text("utf-8")
    script, style = (_digest(found[1]) if (found := each.search(page)) else "'none'" for each in (_SCRIPT, _STYLE))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode(), {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(document: Mapping[str, Any], *, ok: bool = True) -> Response:
    return Response(
        orjson.dumps(document),
        status_code=200 if ok else 503,
        media_type=_JSON,
        headers={"cache-control": "no-store"} if ok else {"cache-control": "no-store", "retry-after": "1"},
    )


async def _refused(request: Request, error: Exception) -> Response:
    """Give a problem document for what Starlette refuses: another method, or a path that is switched off."""
    if isinstance(error, HTTPException) and error.status_code == _METHOD_NOT_ALLOWED:
        names = (error.headers or {}).get("Allow", "GET, HEAD")
        refusal = DomainError(Reason.METHOD_NOT_ALLOWED, f"this path takes {names}", metadata={"allowed": names})
    else:
        refusal = path_not_found(request.url.path.encode())
    answer = problem(refusal, trace_id=uuid.uuid4().hex)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, status_code=answer.status, headers=headers)
