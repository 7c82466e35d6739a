"""The command `holdfast`: thin. What it does is in the modules beside it."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from holdfast.common.settings import load as load_settings
from holdfast.local import plan as planning
from holdfast.local import runtime, state
from holdfast.local.children import kill_tree, running
from holdfast.local.plan import PlanError
from holdfast.local.ports import PortTakenError
from holdfast.local.programs import ProgramMissingError, UntrustedDirectoryError
from holdfast.local.runtime import AlreadyRunningError
from holdfast.local.settings import SERVICES, LocalSettings, environment, layout_of
from holdfast.local.state import Layout, StateUnreadableError
from holdfast.local.supervisor import InterruptedStartError, StartFailedError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from holdfast.local.mesh import LocalMesh
    from holdfast.local.operator import Operator

T = TypeVar("T")
STOP_SECONDS = 90.0
STOP_POLL_SECONDS = 0.1
SAME_SIGNAL_SECONDS = 1.0
FAULTS = (
    StartFailedError,
    PortTakenError,
    PlanError,
    ProgramMissingError,
    UntrustedDirectoryError,
    AlreadyRunningError,
    StateUnreadableError,
)
VARIABLES = """Variables: HOLDFAST_STATE_DIR (data, certificates, logs); HOLDFAST_POSTGRES_PORT, HOLDFAST_NATS_PORT,
HOLDFAST_VALKEY_PORT and …_DIR (embedded servers); HOLDFAST_POSTGRES_DSN, HOLDFAST_NATS_URL, HOLDFAST_CACHE_URL
(servers of your own instead); HOLDFAST_GATEWAY_LISTEN, HOLDFAST_EVENTS_LISTEN, …_METRICS_LISTEN and every other
variable of the services, which get them as they are. docs/configuration.md lists all."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The whole mesh on this machine: start it, look at it, stop it.",
    epilog=VARIABLES,
)
inspect = typer.Typer(no_args_is_help=True, help="Ask the services directly, as an operator.")
app.add_typer(inspect, name="inspect")

StateDirectory = Annotated[
    Path | None, typer.Option("--state-dir", help="State directory; HOLDFAST_STATE_DIR otherwise.", show_default=False)
]


def main() -> None:
    """Run the command line."""
    app()


def say(text: str) -> None:
    """Print a line at once; whoever looked on may have gone."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, OSError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open as long as the process


def fail(text: str, code: int = 1) -> NoReturn:
    """Say on stderr what is wrong, and end."""
    sys.stderr.write(f"holdfast: {text}\n")
    raise typer.Exit(code)


def settings_of(state_dir: Path | None) -> LocalSettings:
    """Read the variables; an option wins over its variable."""
    (settings,) = load_settings(LocalSettings)
    return settings if state_dir is None else settings.model_copy(update={"state_dir": state_dir})


@contextmanager
def faults_told() -> Iterator[None]:
    """Turn what can go wrong for outside reasons into a line and exit code 1."""
    try:
        yield
    except FAULTS as error:
        fail(str(error))


def stopwatch() -> Callable[[str], None]:
    """Return what reports progress, with the time since the beginning."""
    begin = time.monotonic()
    return lambda text: say(f"{time.monotonic() - begin:6.1f} s  {text}")


def obey_signals(mesh: "LocalMesh") -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal stop the mesh in order; a second one, at once."""
    first: list[float] = []

    def asked(_number: int, _frame: Any) -> None:
        now = time.monotonic()
        if (
            first and now - first[0] > SAME_SIGNAL_SECONDS
        ):  # one Ctrl-C may arrive twice, from the terminal and from make
            mesh.in_a_hurry.set()
        first.append(now)
        mesh.interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)


@app.command(epilog=VARIABLES)
def up(
    *,
    state_dir: StateDirectory = None,
    services: Annotated[
        str, typer.Option(help="Start only these services, separated by commas.")
    ] = "events,capacity,pricing,gateway",
    seed: Annotated[bool, typer.Option(help="Make demo data and print a curl that sells a ticket.")] = True,
) -> None:
    """Start the whole mesh and keep it running until Ctrl-C. Data stays for the next start."""
    from holdfast.local.mesh import LocalMesh  # noqa: PLC0415 - only what a command needs

    settings = settings_of(state_dir)
    report = stopwatch()
    with faults_told():
        mesh = LocalMesh(
            settings=settings,
            inherited=environment(),
            services=planning.parse_services(services),
            report=report,
        )
        mesh.layout.ready()
        with runtime.only_one(mesh.layout):
            obey_signals(mesh)
            report(f"starting in {mesh.layout.root}")
            try:
                mesh.start()
                printed = mesh.seed() if seed and len(mesh.plan.services) == len(SERVICES) else ""
                report("the mesh is up; Ctrl-C stops it")
                say(overview(mesh, printed))
                mesh.wait()
            except InterruptedStartError:
                report("asked to stop while starting")
            finally:
                report("stopping")
                mesh.stop()
                report("stopped; the data is kept")


def overview(mesh: "LocalMesh", printed: str) -> str:
    """Return what a newcomer wants to know of a mesh that is up."""
    lines = [""]
    if mesh.plan.gateway:
        lines += [f"  Gateway  {mesh.plan.gateway}    API reference  {mesh.plan.gateway}/docs"]
    lines += [f"  Logs     {mesh.layout.logs}    Status  holdfast status", ""]
    if printed:
        lines += ["Place a hold and confirm it, in another terminal:", "", printed.rstrip("\n"), ""]
    return "\n".join(lines)


@app.command()
def status(
    *,
    state_dir: StateDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Show how the mesh is; the exit code is not 0 when it is not healthy."""
    from holdfast.local import status as looking  # noqa: PLC0415 - only what a command needs

    with faults_told():
        found = looking.gather(layout_of(settings_of(state_dir)))
    if as_json:
        say(json.dumps(found.as_json(), indent=2))
    else:
        say(f"{'healthy' if found.healthy else 'not healthy'} ({found.phase}), {found.state_directory}")
        if found.gateway:
            say(f"gateway   {found.gateway}")
        for name, address in found.grpc.items():
            say(f"{name:9} {address}    {found.metrics.get(name, '')}")
        for process in found.processes:
            say(f"  {process.name:9} {process.state:11} pid {process.pid:<8} restarts {process.restarts}")
    raise typer.Exit(0 if found.healthy else 1)


@app.command()
def stop(*, state_dir: StateDirectory = None) -> None:
    """Stop the mesh that runs in another terminal."""
    layout = layout_of(settings_of(state_dir))
    pid = runtime.held(layout)
    if pid is None:
        for record in runtime.end_leftovers(layout):
            say(f"ended {record.name} (pid {record.pid}), left over from a crash")
        say("no mesh runs")
        return
    recorded = runtime.load(layout)
    if pid == 0 or (recorded is not None and recorded.supervisor.pid == pid and not recorded.supervisor.is_it()):
        fail(f"the state directory {layout.root} is in use, but not by a process that could be identified")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while runtime.held(layout) == pid and time.monotonic() < deadline:
        time.sleep(STOP_POLL_SECONDS)
    if runtime.held(layout) == pid and running(pid):
        kill_tree(pid)
        runtime.end_leftovers(layout)
        fail(f"the supervisor (pid {pid}) did not stop within {STOP_SECONDS:.0f} s and was killed")
    say("stopped")


@app.command()
def reset(
    *,
    state_dir: StateDirectory = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete all data, certificates and keys of the mesh. It must not run."""
    from holdfast.local.mesh import servers  # noqa: PLC0415 - only what a command needs

    settings = settings_of(state_dir)
    layout = layout_of(settings)
    if not layout.root.is_dir():
        say(f"nothing to reset: {layout.root} does not exist")
        return
    with faults_told(), runtime.only_one(layout):
        if not yes and not typer.confirm(f"Delete all data of the mesh in {layout.root}?"):
            fail("nothing was deleted")
        runtime.end_leftovers(layout)
        for server in servers(layout, settings, {}):
            server.remove()
        for directory in (layout.logs, layout.identities, layout.issuer):
            shutil.rmtree(directory, ignore_errors=True)
        for file in (layout.state, layout.runtime, layout.lock):
            file.unlink(missing_ok=True)
    say(f"reset {layout.root}")
    if settings.postgres_dsn is not None:
        say("the database that HOLDFAST_POSTGRES_DSN names was not touched")


@app.command()
def migrate(*, state_dir: StateDirectory = None) -> None:
    """Bring the schemas up to date; the mesh must not run (its start does the same)."""
    from holdfast.local.mesh import LocalMesh  # noqa: PLC0415 - only what a command needs

    settings = settings_of(state_dir)
    with faults_told():
        mesh = LocalMesh(
            settings=settings, inherited=environment(), services=planning.DATABASE_SERVICES, report=stopwatch()
        )
        mesh.layout.ready()
        with runtime.only_one(mesh.layout):
            obey_signals(mesh)
            try:
                mesh.migrate()
            except InterruptedStartError:
                fail("interrupted")
            finally:
                mesh.stop()


@app.command()
def seed(*, state_dir: StateDirectory = None) -> None:
    """Make the demo data in a running mesh, or find it again, and print a curl that sells a ticket."""
    from holdfast.local import seed as seeding  # noqa: PLC0415 - only what a command needs
    from holdfast.local.rest import CallFailedError  # noqa: PLC0415 - as above

    layout = layout_of(settings_of(state_dir))
    found = runtime.load(layout)
    if found is None or not found.gateway:
        fail("no mesh with a gateway runs; start one with `holdfast up`")
    mint = seeding.minter(layout.issuer)

    def remember(demo: state.Demo) -> None:
        state.save(layout, replace(state.load(layout), demo=demo))

    with faults_told():
        seeder = seeding.Seeder(gateway=found.gateway, token=mint, remember=remember)
        try:
            demo = seeder.seed(state.load(layout).demo, now=datetime.now(UTC))
        except CallFailedError as error:
            fail(str(error))
    say(seeding.buyers_curl(found.gateway, demo, mint))


@app.command()
def token(
    *,
    role: Annotated[list[str], typer.Option(help="Role; may be given several times.")],
    organization: Annotated[str, typer.Option(help="Organization id; the demo organization otherwise.")] = "",
    subject: Annotated[str, typer.Option(help="Whose token; demo-<role> otherwise.")] = "",
    ttl_minutes: Annotated[int, typer.Option(help="How long it is valid, minutes.")] = 60,
    state_dir: StateDirectory = None,
) -> None:
    """Mint a development token."""
    from holdfast.common.permissions import ROLES  # noqa: PLC0415 - only what a command needs
    from holdfast.local import tokens  # noqa: PLC0415 - as above

    layout = layout_of(settings_of(state_dir))
    for name in role:
        if name not in ROLES:
            fail(f"there is no role {name!r}; roles are {', '.join(sorted(ROLES))}", 2)
    with faults_told():
        whose = organization or ("" if "platform_admin" in role else state.load(layout).demo.organization_id)
    if not whose and "platform_admin" not in role:
        fail("there is no demo organization yet; name one with --organization, or run `holdfast up`")
    bearer = tokens.Bearer(subject=subject or f"demo-{role[0]}", organization_id=whose, roles=role)
    try:
        say(tokens.mint(layout.issuer, bearer, now=datetime.now(UTC), minutes=ttl_minutes))
    except FileNotFoundError:
        fail(f"there is no token issuer in {layout.issuer} yet; run `holdfast up` once")
    except ValueError as error:
        fail(str(error), 2)


@app.command()
def certificate(
    name: Annotated[str, typer.Argument(help="Name of the internal service: orders.")],
    *,
    directory: Annotated[Path, typer.Option(help="Where to put ca.crt, NAME.crt and NAME.key.")] = Path(),
    state_dir: StateDirectory = None,
) -> None:
    """Issue a mesh certificate for an internal service that calls the stubs."""
    from holdfast.local import identities  # noqa: PLC0415 - only what a command needs

    layout = layout_of(settings_of(state_dir))
    try:
        identities.issue_for(layout.identities, name, target=directory)
    except FileNotFoundError:
        fail(f"there is no certificate authority in {layout.identities} yet; run `holdfast up` once")
    except ValueError as error:
        fail(str(error), 2)
    say(f"{directory / name}.crt {directory / name}.key {directory / 'ca.crt'}")


@app.command(hidden=True)
def prepare(*, state_dir: StateDirectory = None) -> None:
    """Make what a mesh needs on disk: certificates, and the token issuer's keys."""
    from holdfast.local import identities, tokens  # noqa: PLC0415 - only what a command needs

    layout = layout_of(settings_of(state_dir)).ready()
    identities.ensure(layout.identities)
    tokens.ensure_issuer(layout.issuer)


@app.command()
def doctor(*, state_dir: StateDirectory = None) -> None:
    """Check what a mesh commonly suffers from and say what to do; the exit code is not 0 if anything fails."""
    from holdfast.local import doctor as checking  # noqa: PLC0415 - only what a command needs

    settings = settings_of(state_dir)
    findings = checking.examine(settings, environment())
    for finding in findings:
        say(f"{finding.verdict:5} {finding.check}: {finding.detail}")
        if finding.advice:
            say(f"      → {finding.advice}")
    raise typer.Exit(1 if any(finding.verdict == "FAIL" for finding in findings) else 0)


def _operator(layout: Layout, organization: str, ask: Callable[["Operator"], T]) -> T:
    """Ask capacity something as the operator."""
    from holdfast.local import operator  # noqa: PLC0415 - only what a command needs

    found = runtime.load(layout)
    address = found.grpc.get("capacity") if found is not None else None
    if address is None:
        fail("no mesh with a capacity service runs; start one with `holdfast up`")
    whose = organization or state.load(layout).demo.organization_id
    if not whose:
        fail("there is no demo organization; name one with --organization")
    with operator.channel(layout.identities, service="capacity", address=address) as channel:
        try:
            return ask(operator.Operator(channel, organization_id=whose))
        except operator.OperatorError as error:
            fail(str(error))


def _say_message(message: "Message") -> None:
    """Print a message as JSON, with everything that it could say."""
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - only what a command needs

    say(MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=2))


Organization = Annotated[str, typer.Option(help="Organization id; the demo organization otherwise.")]


@inspect.command("hold")
def inspect_hold(hold_id: str, *, organization: Organization = "", state_dir: StateDirectory = None) -> None:
    """Read a hold from capacity."""
    layout = layout_of(settings_of(state_dir))
    _say_message(_operator(layout, organization, lambda operator: operator.hold(hold_id)))


@app.command()
def verify(event_id: str, *, organization: Organization = "", state_dir: StateDirectory = None) -> None:
    """Recompute an event's counters from its holds and its journal; the exit code is 1 where they differ."""
    layout = layout_of(settings_of(state_dir))
    answer = _operator(layout, organization, lambda operator: operator.verify(event_id))
    _say_message(answer)
    raise typer.Exit(0 if answer.consistent else 1)


@app.command()
def seatmap(
    event_id: str,
    *,
    section: Annotated[str, typer.Option(help="Only this section: its id, its name, or its title A-1.")] = "",
    width: Annotated[int | None, typer.Option(help="Columns to draw in; the terminal's otherwise.")] = None,
    organization: Organization = "",
    state_dir: StateDirectory = None,
) -> None:
    """Draw who has the seats of an event: a character a seat, the front row first."""
    from holdfast.local import seatmap as drawing  # noqa: PLC0415 - only what a command needs

    found = _operator(layout_of(settings_of(state_dir)), organization, lambda operator: operator.seat_map(event_id))
    if not drawing.show(found, section=section, width=width):
        fail(f"the event has no section {section!r} with seats" if section else "the event has no sections with seats")
