"""The capacity service's variables, `HOLDFAST_CAPACITY_…`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from holdfast.common.settings import DatabaseDsn, ListenAddress, ServiceSettings


class CapacitySettings(ServiceSettings):
    """What the capacity service needs beyond what all share."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_CAPACITY_")

    listen: ListenAddress = Field(
        default="127.0.0.1:50052", description="Where gRPC listens; port 0 lets the system choose."
    )
    metrics_listen: ListenAddress = Field(
        default="127.0.0.1:9102", description="Where /metrics and /health/… listen, plain HTTP."
    )
    sweeper_dsn: DatabaseDsn = Field(
        description="PostgreSQL as `holdfast_capacity_sweeper`, which finds what is due across organizations."
    )
    reaper: Literal["on", "off"] = Field(
        default="on",
        description="Whether rows are tidied up: holds whose time is over, the rest of a large cancellation. Off "
        "changes nothing that a buyer sees; what it leaves is done, and told by messages, once it is on again.",
    )
    reaper_interval_seconds: float = Field(
        default=1.0, gt=0, le=3600, description="How long the reaper rests when nothing is due."
    )
