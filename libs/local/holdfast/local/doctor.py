"""Checks what a mesh commonly suffers from, and says what to do about it."""

import json
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from holdfast.local import accounts, identities, postgres, programs, runtime, state
from holdfast.local import plan as planning
from holdfast.local import status as looking
from holdfast.local.doctor_servers import examine_servers
from holdfast.local.finding import Finding, bad, good, warn
from holdfast.local.mesh import embedded_names, servers
from holdfast.local.plan import PlanError
from holdfast.local.ports import PortTakenError, Reservations
from holdfast.local.programs import ProgramMissingError, UntrustedDirectoryError
from holdfast.local.settings import SERVICES, LocalSettings, layout_of
from holdfast.local.state import Layout, State, StateUnreadableError
from holdfast.local.status import MeshStatus

PYTHON_LEAST = (3, 11)
FREE_BYTES_LEAST = 512 * 1024 * 1024
FREE_BYTES_WARN = 2 * 1024 * 1024 * 1024
GIGABYTE = 1024**3
CERTIFICATE_WARN = timedelta(days=30)


def examine(settings: LocalSettings, inherited: Mapping[str, str]) -> list[Finding]:
    """Run every check; those of a running mesh only when one runs."""
    layout = layout_of(settings)
    findings = [_python(), *_programs(settings, inherited), _disk(layout), *_directory(layout)]
    try:
        remembered = state.load(layout) if layout.state.exists() else None
    except StateUnreadableError as error:
        return [*findings, bad("state", str(error), "restore the file from a copy, or run `holdfast reset`")]
    found = looking.gather(layout)
    findings += [_leftovers(layout, found), _orphans(), *_certificates(layout), _jwks(layout)]
    if found.phase == "down":
        findings.append(_ports(settings, inherited, remembered))
        findings.append(warn("mesh", "does not run, so nothing of it was asked", "start it with `holdfast up`"))
        return findings
    findings += list(_processes(found))
    if remembered is not None:
        nats_url = _nats_url(layout, settings, inherited, remembered)
        findings += examine_servers(dsns=remembered.dsns, nats_url=nats_url, services=list(found.grpc))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < PYTHON_LEAST:
        return bad("python", version, "install Python 3.11 or newer, remove .venv, and run `make setup`")
    return good("python", version)


def _programs(settings: LocalSettings, inherited: Mapping[str, str]) -> Iterator[Finding]:
    finders: dict[str, Callable[[], object]] = {
        "postgres": lambda: programs.postgres(accounts.unprivileged()).postgres,
        "nats": programs.nats,
        "valkey": programs.valkey,
    }
    for name in embedded_names(SERVICES, settings, inherited):
        try:
            yield good(f"program {name}", str(finders[name]()))
        except (ProgramMissingError, UntrustedDirectoryError) as error:
            yield bad(f"program {name}", str(error), "run `make setup`")


def _disk(layout: Layout) -> Finding:
    place = next(path for path in (layout.root, *layout.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / GIGABYTE:.1f} GB free at {place}"
    if free < FREE_BYTES_LEAST:
        return bad("disk", detail, "make room: PostgreSQL and NATS stop taking writes when the disk is full")
    if free < FREE_BYTES_WARN:
        return warn("disk", detail, "make room before it fills up")
    return good("disk", detail)


def _directory(layout: Layout) -> Iterator[Finding]:
    if not layout.root.exists():
        yield good("state directory", f"{layout.root} is made at the first start")
        return
    own = accounts.myself()
    status = layout.root.stat()
    if status.st_uid != own:
        yield bad(
            "state directory",
            f"{layout.root} belongs to user {status.st_uid}, this is user {own}",
            "run as the user who owns it, or set HOLDFAST_STATE_DIR",
        )
        return
    secret = [layout.state, layout.issuer / "key.json", *layout.identities.glob("*.key")]
    open_ones = [path for path in secret if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_ones:
        names = ", ".join(str(path) for path in open_ones)
        yield bad("state directory", f"others can read {names}", f"chmod 600 {names}")
    else:
        yield good("state directory", f"{layout.root}, secrets for its owner only")


def _leftovers(layout: Layout, found: MeshStatus) -> Finding:
    recorded = runtime.load(layout)
    if found.phase != "down" or recorded is None:
        return good("leftovers", "none")
    alive = [record for record in recorded.processes if record.is_it()]
    if alive:
        names = ", ".join(f"{record.name} (pid {record.pid})" for record in alive)
        return bad(
            "leftovers", f"run without a supervisor: {names}", "`holdfast stop` ends them; so does `holdfast up`"
        )
    return warn("leftovers", "the supervisor ended without clearing up", "nothing to do: the next start clears up")


def _orphans() -> Finding:
    found = postgres.orphans()
    if found:
        names = " ".join(str(path) for path in found)
        return warn("old data", f"belongs to deleted state directories: {names}", f"rm -r {names}")
    return good("old data", "none outside of state directories")


def _certificates(layout: Layout) -> Iterator[Finding]:
    if not (layout.identities / "ca.crt").exists():
        yield good("certificates", "are made at the first start")
        return
    now = datetime.now(UTC)
    for name in ("ca", *SERVICES, identities.OPERATOR):
        path = layout.identities / f"{name}.crt"
        try:
            left = identities.expiry(path) - now
        except (OSError, ValueError):
            yield bad(f"certificate {name}", f"{path} cannot be read", "restart the mesh: missing ones are issued")
            continue
        if left < timedelta(0):
            yield bad(f"certificate {name}", "has expired", "restart the mesh: it is renewed")
        elif left < CERTIFICATE_WARN:
            yield warn(f"certificate {name}", f"expires in {left.days} days", "restart the mesh: it is renewed")
        else:
            yield good(f"certificate {name}", f"valid for {left.days} days")


def _jwks(layout: Layout) -> Finding:
    path = layout.issuer / "jwks.json"
    try:
        keys = json.loads(path.read_text())["keys"]
        usable = [key["kid"] for key in keys if key["kty"] == "EC" and key["crv"] == "P-256" and "d" not in key]
    except FileNotFoundError:
        return good("token issuer", "is made at the first start")
    except (OSError, ValueError, KeyError, TypeError):
        usable = []
    if not usable:
        return bad("token issuer", f"{path} holds no usable public key", f"remove {path} and restart the mesh")
    return good("token issuer", f"{len(usable)} public key, id {usable[0]}")


def _ports(settings: LocalSettings, inherited: Mapping[str, str], remembered: State | None) -> Finding:
    reservations = Reservations()
    try:
        choice = planning.choose_ports(
            planning.port_names(SERVICES, embedded=embedded_names(SERVICES, settings, inherited)),
            settings=settings,
            inherited=inherited,
            remembered=remembered.ports if remembered else {},
            reservations=reservations,
        )
    except (PortTakenError, PlanError) as error:
        return bad("ports", str(error), "stop what uses it, or choose another port")
    finally:
        reservations.let_go_all()
    if choice.remarks:
        return warn("ports", "; ".join(choice.remarks), "nothing to do, unless you want the usual ports")
    return good("ports", "all free")


def _processes(found: MeshStatus) -> Iterator[Finding]:
    for process in found.processes:
        detail = f"{process.state}, pid {process.pid}, restarted {process.restarts} times"
        if process.state != "running":
            log = f"{found.state_directory}/logs/{process.name}.log"
            yield bad(f"process {process.name}", detail, f"look at the end of {log}")
        elif process.restarts:
            log = f"{found.state_directory}/logs/{process.name}.log.1"
            yield warn(f"process {process.name}", detail, f"why it ended stands in {log}")
        else:
            yield good(f"process {process.name}", detail)


def _nats_url(layout: Layout, settings: LocalSettings, inherited: Mapping[str, str], remembered: State) -> str:
    _, nats, _ = servers(layout, settings, remembered.ports)
    return inherited.get("HOLDFAST_NATS_URL") or nats.url
