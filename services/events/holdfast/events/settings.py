"""The events service's variables, `HOLDFAST_EVENTS_…`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from holdfast.common.settings import ListenAddress, ServiceSettings


class EventsSettings(ServiceSettings):
    """What the events service needs beyond what all share."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_EVENTS_")

    listen: ListenAddress = Field(
        default="127.0.0.1:50051", description="Where gRPC listens; port 0 lets the system choose."
    )
    metrics_listen: ListenAddress = Field(
        default="127.0.0.1:9101", description="Where /metrics and /health/… listen, plain HTTP."
    )
