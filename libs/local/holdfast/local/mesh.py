"""A whole mesh on this machine, from its directory to its last process."""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.local import plan as planning
from holdfast.local import rest, runtime, state
from holdfast.local.children import Child
from holdfast.local.nats import EmbeddedNats
from holdfast.local.plan import Plan, PlanError, log_of
from holdfast.local.ports import Reservations
from holdfast.local.postgres import EmbeddedPostgres
from holdfast.local.servers import EmbeddedServer, rotate
from holdfast.local.settings import LocalSettings, layout_of
from holdfast.local.state import Layout, State
from holdfast.local.supervisor import InterruptedStartError, StartFailedError, Supervisor, how_it_ended
from holdfast.local.units import Program, Unit
from holdfast.local.valkey import EmbeddedValkey

STEP_SECONDS = 120.0
STEP_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Backends:
    """The three servers: embedded ones to start, and where all are, ours or not."""

    embedded: Sequence[EmbeddedServer]
    admin_dsn: str
    nats_url: str
    cache_url: str


def servers(
    layout: Layout, settings: LocalSettings, ports: Mapping[str, int]
) -> tuple[EmbeddedPostgres, EmbeddedNats, EmbeddedValkey]:
    """Return the three embedded servers of a state directory, not started."""
    return (
        EmbeddedPostgres(
            settings.postgres_dir or layout.root / "postgres",
            ports.get("postgres", 0),
            log=log_of(layout, "postgres"),
        ),
        EmbeddedNats(settings.nats_dir or layout.root / "nats", ports.get("nats", 0), log=log_of(layout, "nats")),
        EmbeddedValkey(
            settings.valkey_dir or layout.root / "valkey", ports.get("valkey", 0), log=log_of(layout, "valkey")
        ),
    )


def embedded_names(services: Sequence[str], settings: LocalSettings, inherited: Mapping[str, str]) -> list[str]:
    """Return which servers must be started, because nothing names another one."""
    databases = [service for service in services if service in planning.DATABASE_SERVICES]
    given = settings.postgres_dsn is not None or len(planning.external(databases, inherited)) == len(databases)
    wanted = {
        "postgres": not given,
        "nats": "HOLDFAST_NATS_URL" not in inherited and bool(databases),
        "valkey": "HOLDFAST_CACHE_URL" not in inherited,
    }
    return [name for name, needed in wanted.items() if needed]


class LocalMesh:
    """Starts a mesh, keeps it running until it is told to stop, and stops it. One use each."""

    def __init__(
        self,
        *,
        settings: LocalSettings,
        inherited: Mapping[str, str],
        services: Sequence[str],
        report: Callable[[str], None],
    ) -> None:
        self.layout = layout_of(settings)
        self.interrupted = threading.Event()
        self.in_a_hurry = threading.Event()
        self._settings = settings
        self._inherited = inherited
        self._services = services
        self._report = report
        self._reservations = Reservations()
        self._state: State = State()
        self._plan: Plan | None = None
        self._phase = "starting"
        self._writing = threading.Lock()
        self._supervisor = Supervisor(
            report=report,
            on_change=self._write_runtime,
            interrupted=self.interrupted,
            restart_seconds_max=settings.restart_seconds_max,
        )

    @property
    def plan(self) -> Plan:
        """The mesh put together; raises RuntimeError before `start`."""
        if self._plan is None:
            raise RuntimeError("the mesh was not started")
        return self._plan

    def start(self) -> None:
        """Start everything, wait until it is healthy. Call `stop` afterwards, also when this raises.

        Raises StartFailedError, InterruptedStartError, PortTakenError, PlanError, ProgramMissingError,
        UntrustedDirectoryError, StateUnreadableError; each message is for people.
        """
        for record in runtime.end_leftovers(self.layout):
            self._report(f"ended {record.name} (pid {record.pid}), left over from a supervisor that crashed")
        backends = self._prepare()
        stage = [_Released(server, self._reservations) for server in backends.embedded]
        keys = self._step("prepare", [sys.executable, "-m", "holdfast.local", "prepare"], self._own_environment())
        self._supervisor.start_stage(stage, ready_seconds=self._settings.start_seconds_max)
        self._finish("certificates and token issuer", keys)
        self._migrate()
        self._supervisor.start_stage(
            [self._program(service) for service in self._services], ready_seconds=self._settings.start_seconds_max
        )
        self._phase = "running"
        self._write_runtime()

    def migrate(self) -> None:
        """Start only the servers and bring the schemas up to date. Call `stop` afterwards, as after `start`."""
        runtime.end_leftovers(self.layout)
        backends = self._prepare(listening=False)
        stage = [_Released(server, self._reservations) for server in backends.embedded if server.name == "postgres"]
        self._supervisor.start_stage(stage, ready_seconds=self._settings.start_seconds_max)
        self._migrate()

    def seed(self) -> str:
        """Make the demo data and return what a newcomer should type next. Raises StartFailedError."""
        seeding = self._step("seed", [sys.executable, "-m", "holdfast.local", "seed"], self._own_environment())
        self._finish("demo data", seeding)
        return seeding.log.read_text()

    def wait(self) -> None:
        """Return when somebody asks to stop."""
        self._supervisor.watch()

    def stop(self) -> None:
        """Stop everything in reverse order; nothing of it runs afterwards."""
        self._phase = "stopping"
        self._reservations.let_go_all()
        self._supervisor.stop(in_a_hurry=self.in_a_hurry)
        self.layout.runtime.unlink(missing_ok=True)

    def _prepare(self, *, listening: bool = True) -> Backends:
        """Choose ports, put the mesh together, and remember it. Without `listening`, no service will be started."""
        self._state = state.load(self.layout)
        embedded = embedded_names(self._services, self._settings, self._inherited)
        choice = planning.choose_ports(
            planning.port_names(self._services if listening else (), embedded=embedded),
            settings=self._settings,
            inherited=self._inherited,
            remembered=self._state.ports,
            reservations=self._reservations,
        )
        for remark in choice.remarks:
            self._report(remark)
        backends = self._backends(embedded, choice.ports)
        self._plan = planning.make(
            layout=self.layout,
            state=self._state,
            choice=choice,
            services=self._services,
            inherited=self._inherited,
            admin_dsn=backends.admin_dsn,
            nats_url=backends.nats_url,
            cache_url=backends.cache_url,
        )
        ports = dict(self._state.ports) | dict(choice.ports)
        self._state = replace(self._state, ports=ports, dsns=self._plan.dsns)
        state.save(self.layout, self._state)
        self._write_runtime()
        return backends

    def _backends(self, embedded: Sequence[str], ports: Mapping[str, int]) -> Backends:
        postgres, nats, valkey = servers(self.layout, self._settings, ports)
        given = self._settings.postgres_dsn
        if given is not None:
            admin_dsn = given.get_secret_value()
            if not urlsplit(admin_dsn).hostname:
                raise PlanError("HOLDFAST_POSTGRES_DSN: name a host; the roles of the services connect there, too")
        else:
            admin_dsn = postgres.dsn(database=planning.DATABASE) if "postgres" in embedded else ""
        return Backends(
            embedded=[server for server in (postgres, nats, valkey) if server.name in embedded],
            admin_dsn=admin_dsn,
            nats_url=self._inherited.get("HOLDFAST_NATS_URL") or (nats.url if "nats" in embedded else ""),
            cache_url=self._inherited.get("HOLDFAST_CACHE_URL") or valkey.url,
        )

    def _own_environment(self) -> dict[str, str]:
        """Return the environment for a command of the local stack itself, about this very mesh."""
        return dict(self._inherited) | {"HOLDFAST_STATE_DIR": str(self.layout.root), "PYTHONUNBUFFERED": "1"}

    def _migrate(self) -> None:
        """Bring all schemas up to date, beside each other."""
        steps = []
        for service in self._services:
            if not self.plan.migrates(service):
                continue
            command = self.plan.command(service, "migrate")
            steps.append((service, self._step(f"migrate-{service}", command, self.plan.migration_environment(service))))
        for service, step in steps:
            self._finish(f"schema {service}", step)

    def _step(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start something that ends by itself."""
        log = log_of(self.layout, name)
        rotate(log)
        step = Child(name=name, command=command, environment=environment, log=log, directory=Path.cwd())
        step.start()
        return step

    def _finish(self, what: str, step: Child) -> None:
        """Wait for a step's success. Raises StartFailedError, InterruptedStartError."""
        for _ in range(int(STEP_SECONDS / STEP_POLL_SECONDS)):
            if step.wait(STEP_POLL_SECONDS):
                break
            if self.interrupted.is_set():
                step.kill()
                raise InterruptedStartError
        else:
            step.kill()
            raise StartFailedError(f"{what}: not done after {STEP_SECONDS:.0f} s.\n{step.log_tail()}")
        if step.exit_code != 0:
            raise StartFailedError(f"{what}: {how_it_ended(step.exit_code)}. Its log {step.log}:\n{step.log_tail()}")
        self._report(f"{what}: done")

    def _program(self, service: str) -> Unit:
        url = self.plan.ready_url(service)
        program = Program(
            name=service,
            command=self.plan.command(service, "serve"),
            environment=self.plan.environments[service],
            log=log_of(self.layout, service),
            is_ready=lambda: rest.answers_ok(url),
            directory=Path.cwd(),  # relative paths in variables mean what they meant to whoever set them
        )
        return _Released(program, self._reservations, ports=self._ports_of(service))

    def _ports_of(self, service: str) -> Sequence[int]:
        return [self._state.ports[service], self._state.ports[f"{service}-metrics"]]

    def _write_runtime(self) -> None:
        if self._plan is None:
            return
        with self._writing:
            runtime.save(
                self.layout,
                runtime.Runtime(
                    supervisor=runtime.myself(),
                    phase=self._phase,
                    gateway=self._plan.gateway,
                    grpc=self._plan.grpc,
                    metrics=self._plan.metrics,
                    processes=tuple(self._supervisor.processes),
                ),
            )


class _Released:
    """A unit whose ports are kept for it alone until it starts."""

    def __init__(self, unit: Unit, reservations: Reservations, *, ports: Sequence[int] = ()) -> None:
        self._unit = unit
        self._reservations = reservations
        self._ports = [unit.port] if isinstance(unit, EmbeddedServer) else list(ports)

    @property
    def name(self) -> str:
        return self._unit.name

    @property
    def child(self) -> Child | None:
        return self._unit.child

    @property
    def ready(self) -> bool:
        return self._unit.ready

    def start(self) -> None:
        for port in self._ports:
            self._reservations.share(port)
        self._unit.start()

    def stop(self) -> None:
        self._unit.stop()

    def kill(self) -> None:
        self._unit.kill()
