"""The relay of a service as an application: inside `serve`, or a process of its own (`python -m holdfast.X relay`)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from holdfast.common.database import Database
from holdfast.common.messaging import Messaging
from holdfast.common.metrics import Metrics
from holdfast.common.relay import Relay
from holdfast.common.tasks import Background
from holdfast.common.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.common.relay import RelaySource
    from holdfast.common.settings import MeshSettings, ServiceSettings

POOL_SIZE: Final = 4


class RelayApp:
    """Several may run, of one service; the lease lets one of them work.

    `schema` is the service's name, its schema's and, in capitals, its stream's. `source` makes what is relayed. With
    `metrics` and `telemetry` it is a part of an application that starts and stops those; without, it has its own and
    serves its metrics itself. `database` works across organizations as the relay's role.
    """

    def __init__(  # noqa: PLR0913 (settings, what is relayed, and whose part it is)
        self,
        mesh: MeshSettings,
        settings: ServiceSettings,
        *,
        schema: str,
        source: Callable[[Metrics], RelaySource],
        metrics: Metrics | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._alone = metrics is None
        self.metrics = metrics or Metrics(schema)
        self._telemetry = telemetry or Telemetry(
            service=schema, endpoint=mesh.trace_endpoint, ratio=mesh.trace_sample_ratio
        )
        self.database = Database(
            dsn=settings.relay_dsn.get_secret_value(),
            pool_size=POOL_SIZE,
            application_name=f"holdfast-{schema}-relay",
            schema=schema,
            allow_cross_organization=True,
            metrics=self.metrics,
        )
        self.messaging = Messaging(url=mesh.nats_url, service=schema, publishes=(schema.upper(),), metrics=self.metrics)
        self._relay = Relay(
            database=self.database, source=source(self.metrics), publisher=self.messaging, metrics=self.metrics
        )
        self._opened = AsyncExitStack()
        self._running = False

    @property
    def ready(self) -> bool:
        """Whether it relays, or stands by to."""
        return self._running

    def hint(self) -> None:
        """Say that something was committed, so that it need not wait for the relay's next look."""
        self._relay.hint()

    async def start(self) -> None:
        """Open the database and begin to relay; NATS may come later. StartRefused on an unsafe database."""
        if self._alone:
            self._telemetry.start()
            self._opened.push_async_callback(self._telemetry.stop)
            operations = await self.metrics.serve(self._settings.metrics_listen, ready=lambda: self.ready)
            self._opened.push_async_callback(operations.stop)
        self._opened.push_async_callback(self.database.close)
        await self.database.start()
        self._opened.push_async_callback(self.messaging.close)
        await self.messaging.start()
        background = Background("relay", self._relay.run, metrics=self.metrics)
        self._opened.push_async_callback(background.stop)
        background.start()
        self._running = True

    async def stop(self) -> None:
        """Stop relaying and close what `start` opened, in reverse."""
        self._running = False
        await self._opened.aclose()
