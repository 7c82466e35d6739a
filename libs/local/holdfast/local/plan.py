"""What a mesh on this machine consists of: addresses, DSNs, and the environment of each process."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from holdfast.common.settings import host_port
from holdfast.local import ports
from holdfast.local.ports import Reservations
from holdfast.local.settings import AUDIENCE, ISSUER, SERVICES, LocalSettings, for_service
from holdfast.local.state import ROLES, Layout, State

DATABASE = "postgres"
DATABASE_SERVICES = ("events", "capacity", "pricing")
DEFAULT_PORTS = {
    "gateway": 8080,
    "events": 50051,
    "capacity": 50052,
    "pricing": 50053,
    "gateway-metrics": 9100,
    "events-metrics": 9101,
    "capacity-metrics": 9102,
    "pricing-metrics": 9103,
    "postgres": 54329,
    "nats": 4222,
    "valkey": 6379,
}
NOWHERE = "127.0.0.1:0"  # of services that will not be started
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what was asked for, made reachable


class PlanError(Exception):
    """The mesh cannot be put together as asked; the message names the variable or option."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which ports the mesh uses, and what was not as expected."""

    ports: Mapping[str, int]
    listens: Mapping[str, str]
    """`host:port` for each service and each `<service>-metrics`."""
    remarks: Sequence[str] = field(default_factory=tuple)


def choose_ports(
    names: Sequence[str],
    *,
    settings: LocalSettings,
    inherited: Mapping[str, str],
    remembered: Mapping[str, int],
    reservations: Reservations,
) -> Choice:
    """Give every name a port and keep it reserved.

    A port that was set must be free (PortTakenError names the variable); otherwise the port of the last start, the
    usual one, or any free one is taken, in this order.
    """
    chosen: dict[str, int] = {}
    listens: dict[str, str] = {}
    remarks = []
    for name in names:
        variable, host, explicit = _explicit(name, settings, inherited)
        if explicit:
            if not reservations.keep(explicit):
                raise ports.taken(name=name, port=explicit, variable=variable)
            chosen[name] = explicit
        else:
            chosen[name] = _first_free(name, remembered, reservations)
            if chosen[name] != remembered.get(name, DEFAULT_PORTS[name]):
                wanted = remembered.get(name, DEFAULT_PORTS[name])
                who = ports.holder(wanted)
                by = f" by {who}" if who else ""
                remarks.append(f"port {wanted} is in use{by}: {name} gets {chosen[name]} ({variable} sets it)")
        listens[name] = f"{host}:{chosen[name]}"
    return Choice(ports=chosen, listens=listens, remarks=remarks)


def _explicit(name: str, settings: LocalSettings, inherited: Mapping[str, str]) -> tuple[str, str, int]:
    """Return the variable that sets a port, the host, and the port that it was set to; 0 = not set."""
    embedded = {"postgres": settings.postgres_port, "nats": settings.nats_port, "valkey": settings.valkey_port}
    if name in embedded:
        return f"HOLDFAST_{name.upper()}_PORT", "127.0.0.1", embedded[name] or 0
    service, _, metrics = name.partition("-")
    variable = f"HOLDFAST_{service.upper()}_{'METRICS_' if metrics else ''}LISTEN"
    if variable not in inherited:
        return variable, "127.0.0.1", 0
    try:
        host, port = host_port(inherited[variable])
    except ValueError as error:
        raise PlanError(f"{variable}: {error}") from error
    return variable, host, port


def _first_free(name: str, remembered: Mapping[str, int], reservations: Reservations) -> int:
    for port in (remembered.get(name, 0), DEFAULT_PORTS[name]):
        if port and reservations.keep(port):
            return port
    for _ in range(ports.ATTEMPTS):
        port = ports.choose()
        if reservations.keep(port):
            return port
    raise ports.PortTakenError(f"no free port found for {name}")


def reachable_address(listen: str) -> str:
    """Return where to reach what listens there: a wildcard becomes loopback."""
    host, port = host_port(listen)
    host = WILDCARDS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A mesh put together. Addresses are `host:port`; `dsns` by role, and `admin`; environments by service."""

    services: Sequence[str]
    gateway: str
    grpc: Mapping[str, str]
    metrics: Mapping[str, str]
    dsns: Mapping[str, str]
    environments: Mapping[str, Mapping[str, str]]
    external: frozenset[str] = frozenset()
    """Services whose database was given to them: theirs is migrated only if MIGRATION_DSN was given, too."""

    def migrates(self, service: str) -> bool:
        """Tell whether a service's schema is ours to bring up to date."""
        prefix = f"HOLDFAST_{service.upper()}_"
        ours = service in DATABASE_SERVICES and service not in self.external
        return ours or f"{prefix}MIGRATION_DSN" in self.environments[service]

    def command(self, service: str, action: str) -> list[str]:
        """Return how to run a service."""
        return [sys.executable, "-m", f"holdfast.{service}", action]

    def migration_environment(self, service: str) -> Mapping[str, str]:
        """Return a service's environment with what only `migrate` may have: the owner's DSN and the administrator's."""
        prefix = f"HOLDFAST_{service.upper()}_"
        if service in self.external:
            return self.environments[service]
        own = {f"{prefix}MIGRATION_DSN": self.dsns[f"{service}_owner"], f"{prefix}ADMIN_DSN": self.dsns["admin"]}
        return own | dict(self.environments[service])

    def ready_url(self, service: str) -> str:
        """Return where a service says whether it is ready; the gateway of a whole mesh: whether it reaches all."""
        if service == "gateway":
            return gateway_ready_url(self.gateway, self.services)
        return f"{self.metrics[service].removesuffix('/metrics')}/health/ready"


def gateway_ready_url(gateway: str, services: Iterable[str]) -> str:
    """Return where a gateway says that it reaches every service of the mesh or, in a part of one, that it is ready."""
    return f"{gateway}/health" if set(DATABASE_SERVICES) <= set(services) else f"{gateway}/health/ready"


def dsns(admin: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Return the DSN of each role in the administrator's database, and the administrator's own as `admin`."""
    parts = urlsplit(admin)
    location = parts.netloc.rpartition("@")[2]
    made = {"admin": admin}
    for role in ROLES:
        user = f"holdfast_{role}:{quote(passwords[role], safe='')}@{location}"
        made[role] = urlunsplit(("postgresql", user, parts.path, parts.query, ""))
    return made


def make(  # noqa: PLR0913 - everything that a mesh is put together from
    *,
    layout: Layout,
    state: State,
    choice: Choice,
    services: Sequence[str],
    inherited: Mapping[str, str],
    admin_dsn: str,
    nats_url: str,
    cache_url: str,
) -> Plan:
    """Put the mesh together. What is set in the environment wins over what would be chosen here."""
    roles = dsns(admin_dsn, state.passwords)
    listens = dict.fromkeys(port_names(services, embedded=()), NOWHERE) | dict(choice.listens)
    grpc = {
        service: inherited.get(f"HOLDFAST_{service.upper()}_ADDRESS") or reachable_address(listens[service])
        for service in DATABASE_SERVICES
        if service in listens or f"HOLDFAST_{service.upper()}_ADDRESS" in inherited
    }
    shared = {
        "HOLDFAST_NATS_URL": nats_url,
        "HOLDFAST_CACHE_URL": cache_url,
        "HOLDFAST_IDENTITY_DIR": str(layout.identities),
        "HOLDFAST_PAGE_TOKEN_KEY": state.page_token_key,
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
    } | {f"HOLDFAST_{service.upper()}_ADDRESS": address for service, address in grpc.items()}
    environments = {}
    for service in services:
        prefix = f"HOLDFAST_{service.upper()}_"
        own = {
            f"{prefix}LISTEN": listens[service],
            f"{prefix}METRICS_LISTEN": listens[f"{service}-metrics"],
        }
        if service in DATABASE_SERVICES:
            own |= {
                f"{prefix}DATABASE_DSN": roles[f"{service}_service"],
                f"{prefix}RELAY_DSN": roles[f"{service}_relay"],
            }
        if service == "capacity":
            own |= {f"{prefix}SWEEPER_DSN": roles["capacity_sweeper"]}
        if service == "gateway":
            own |= {
                f"{prefix}JWKS": str(layout.issuer / "jwks.json"),
                f"{prefix}ISSUER": ISSUER,
                f"{prefix}AUDIENCE": AUDIENCE,
            }
        environments[service] = shared | own | for_service(inherited, service)
    return Plan(
        services=tuple(services),
        gateway=f"http://{reachable_address(listens['gateway'])}" if "gateway" in services else "",
        grpc={service: grpc[service] for service in services if service in grpc},
        metrics={service: f"http://{reachable_address(listens[f'{service}-metrics'])}/metrics" for service in services},
        dsns=roles,
        environments=environments,
        external=external(services, inherited),
    )


def external(services: Sequence[str], inherited: Mapping[str, str]) -> frozenset[str]:
    """Return the services whose database the environment names."""
    return frozenset(service for service in services if f"HOLDFAST_{service.upper()}_DATABASE_DSN" in inherited)


def port_names(services: Sequence[str], *, embedded: Sequence[str]) -> list[str]:
    """Return the names of all ports that a mesh of these services and embedded servers needs."""
    return [*embedded, *services, *(f"{service}-metrics" for service in services)]


def parse_services(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of services, in the order in which they start. Raises PlanError."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    for name in asked:
        if name not in SERVICES:
            raise PlanError(f"there is no service {name!r}; services are {', '.join(SERVICES)}")
    if not asked:
        raise PlanError("name at least one service")
    return tuple(service for service in SERVICES if service in asked)


def log_of(layout: Layout, name: str) -> Path:
    """Return the log of a process."""
    return layout.logs / f"{name}.log"
