"""The variables of the local stack, and the environment that its processes get."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from holdfast.common.settings import PREFIX, DatabaseDsn, Settings, variable
from holdfast.local.state import Layout

PORT_MAX = 65535
SERVICES = ("events", "capacity", "pricing", "gateway")
ISSUER = "https://issuer.holdfast.internal"
AUDIENCE = "holdfast"


class LocalSettings(Settings):
    """What `holdfast up` can be told, besides every variable of the services, which it hands on."""

    model_config = SettingsConfigDict(env_prefix=PREFIX)

    state_dir: Path | None = Field(
        default=None,
        description="Data, certificates, logs of this mesh. Default: .holdfast in the clone, or where you are.",
    )
    postgres_dsn: DatabaseDsn | None = Field(
        default=None,
        description="A PostgreSQL of your own, as a role that may create roles and schemas; none is started then.",
    )
    postgres_port: int | None = Field(
        default=None, ge=1, le=PORT_MAX, description="Port of the embedded PostgreSQL. Default: 54329, or a free one."
    )
    nats_port: int | None = Field(
        default=None, ge=1, le=PORT_MAX, description="Port of the embedded NATS. Default: 4222, or a free one."
    )
    valkey_port: int | None = Field(
        default=None, ge=1, le=PORT_MAX, description="Port of the embedded Valkey. Default: 6379, or a free one."
    )
    postgres_dir: Path | None = Field(default=None, description="Data of PostgreSQL. Default: in the state directory.")
    nats_dir: Path | None = Field(default=None, description="Data of NATS. Default: in the state directory.")
    valkey_dir: Path | None = Field(default=None, description="Files of Valkey. Default: in the state directory.")
    start_seconds_max: float = Field(
        default=90.0, gt=0, le=3600, description="How long the mesh may take until it is healthy, seconds."
    )
    restart_seconds_max: float = Field(
        default=10.0, gt=0, le=3600, description="How long a process that ends again and again waits for its restart."
    )


def environment() -> dict[str, str]:
    """Return a copy of the environment of this process, without the local stack's own variables."""
    own = {variable(LocalSettings, field) for field in LocalSettings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in own and value != ""}


def for_service(inherited: Mapping[str, str], service: str) -> dict[str, str]:
    """Return what a service may see of an environment: everything but the other services' own variables.

    Their addresses (`HOLDFAST_EVENTS_ADDRESS`) are everybody's.
    """
    foreign = tuple(f"{PREFIX}{other.upper()}_" for other in SERVICES if other != service)
    return {
        name: value for name, value in inherited.items() if not name.startswith(foreign) or name.endswith("_ADDRESS")
    }


def default_state_directory() -> Path:
    """Return where a mesh keeps its state when nothing is set: in the clone, or in the working directory."""
    clone = Path(__file__).resolve().parents[4]
    home = clone if (clone / "protos").is_dir() and (clone / "Makefile").is_file() else Path.cwd()
    return home / ".holdfast"


def layout_of(settings: LocalSettings) -> Layout:
    """Return the state directory that the settings mean."""
    return Layout((settings.state_dir or default_state_directory()).expanduser().absolute())
