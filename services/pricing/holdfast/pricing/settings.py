"""The pricing service's variables, `HOLDFAST_PRICING_…`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from holdfast.common.settings import ListenAddress, ServiceSettings


class PricingSettings(ServiceSettings):
    """What the pricing service needs beyond what all share."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_PRICING_")

    listen: ListenAddress = Field(
        default="127.0.0.1:50053", description="Where gRPC listens; port 0 lets the system choose."
    )
    metrics_listen: ListenAddress = Field(
        default="127.0.0.1:9103", description="Where /metrics and /health/… listen, plain HTTP."
    )
