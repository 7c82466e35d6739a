"""`holdfast up` and the commands around it, with one real service: small, but every process is there."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from holdfast.local import ports, runtime, state
from holdfast.local.children import running
from holdfast.local.postgres import EmbeddedPostgres
from holdfast.local.rest import answers_ok
from holdfast.local.state import Layout
from holdfast.local.status import MeshStatus, gather
from tests.support.mesh import start_mesh, stop_mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.mesh import Mesh

ONE_SERVICE = ("--no-seed", "--services", "pricing")
UP = "the mesh is up"


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def everybody(mesh: Mesh) -> list[int]:
    """Return the process ids of the supervisor and all its descendants."""
    return [mesh.process.pid, *(child.pid for child in psutil.Process(mesh.process.pid).children(recursive=True))]


def look(mesh: Mesh) -> MeshStatus:
    """Ask as `holdfast status` does, without a process of its own."""
    return gather(Layout(mesh.state))


def pid_of(mesh: Mesh, name: str) -> int:
    return next(each.pid for each in look(mesh).processes if each.name == name)


def launch(directory: Path, **extra: str) -> Mesh:
    directory.with_name(directory.name + ".out").unlink(missing_ok=True)  # it is appended to
    mesh = start_mesh(directory, *ONE_SERVICE, extra=extra)
    try:
        mesh.wait_printed(UP)
    except BaseException:
        stop_mesh(mesh)
        raise
    return mesh


def forget(directory: Path) -> None:
    """Delete a mesh's data, wherever it lies."""
    EmbeddedPostgres(directory / "postgres").remove()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A state directory whose data is gone afterwards."""
    directory = tmp_path / "state"
    yield directory
    forget(directory)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh of one service, for tests that leave it as they found it: running."""
    directory = tmp_path_factory.mktemp("up") / "state"
    running_one = launch(directory)
    try:
        yield running_one
    finally:
        stop_mesh(running_one)
        forget(directory)


def test_status_tells_everything_and_succeeds(mesh: Mesh) -> None:
    status = mesh.status()
    assert status["healthy"], status
    assert [each["name"] for each in status["processes"]] == ["postgres", "nats", "valkey", "pricing"]
    assert {each["state"] for each in status["processes"]} == {"running"}
    assert set(status["grpc"]) == {"pricing"}
    assert answers_ok(status["metrics"]["pricing"])
    assert mesh.command("status").returncode == 0


def test_everything_listens_on_loopback_only(mesh: Mesh) -> None:
    addresses = {
        connection.laddr.ip
        for pid in everybody(mesh)
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert addresses


def test_secrets_are_for_their_owner_only_and_in_no_process_title(mesh: Mesh) -> None:
    secrets = list(json.loads((mesh.state / "state.json").read_text())["passwords"].values())
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in everybody(mesh)]
    assert not [secret for secret in secrets for line in lines if secret in line]
    for path in (mesh.state / "state.json", mesh.state / "issuer" / "key.json", mesh.state / "identities" / "ca.key"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_one_in_the_same_place_is_refused_and_told_who_is_there(mesh: Mesh) -> None:
    second = start_mesh(mesh.state, *ONE_SERVICE)
    assert second.process.wait(30) == 1
    assert f"process {mesh.process.pid} already uses" in second.output.read_text()
    reset = mesh.command("reset", "--yes", check=False)
    assert reset.returncode == 1
    assert str(mesh.process.pid) in reset.stderr
    assert mesh.status()["healthy"]


def test_a_killed_service_comes_back_and_is_counted_and_told(mesh: Mesh) -> None:
    before, restarts = mesh.pid("pricing"), mesh.restarts("pricing")
    mesh.kill("pricing")
    assert until(lambda: look(mesh).healthy and pid_of(mesh, "pricing") != before), look(mesh)
    assert mesh.restarts("pricing") == restarts + 1
    assert f"pricing was killed by SIGKILL; restart {restarts + 1}" in mesh.output.read_text()


@pytest.mark.parametrize("name", ["postgres", "nats", "valkey"])
def test_a_killed_server_comes_back_on_its_port(mesh: Mesh, name: str) -> None:
    before, port = pid_of(mesh, name), state.load(Layout(mesh.state)).ports[name]
    mesh.kill(name)
    assert until(lambda: look(mesh).healthy and pid_of(mesh, name) != before), look(mesh)
    listening = [each.laddr.port for each in psutil.Process(pid_of(mesh, name)).net_connections("tcp")]
    assert port in listening


def test_a_frozen_service_is_not_healthy(mesh: Mesh) -> None:
    pid = pid_of(mesh, "pricing")
    os.kill(pid, signal.SIGSTOP)
    try:
        frozen = look(mesh)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not frozen.healthy
    assert next(each.state for each in frozen.processes if each.name == "pricing") == "not ready"
    assert until(lambda: look(mesh).healthy)


def test_the_doctor_finds_a_running_mesh_in_good_health(mesh: Mesh) -> None:
    doctor = mesh.command("doctor", check=False)
    assert doctor.returncode == 0, doctor.stdout
    for check in ("schema pricing: up to date", "streams", "durability", "certificate pricing", "clock", "disk"):
        assert check in doctor.stdout, doctor.stdout


def test_the_doctor_finds_a_missing_migration_and_says_what_to_do(mesh: Mesh) -> None:
    dsn = state.load(Layout(mesh.state)).dsns["admin"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE pricing.migrations SET version_num = 'older' || version_num")
        doctor = mesh.command("doctor", check=False)
        connection.execute("UPDATE pricing.migrations SET version_num = substr(version_num, 6)")
    assert doctor.returncode == 1
    assert "schema pricing: is at older" in doctor.stdout
    assert "restart the mesh" in doctor.stdout
    assert mesh.command("doctor", check=False).returncode == 0


def test_stop_leaves_no_process_and_the_next_start_has_the_data_and_the_ports(place: Path) -> None:
    layout = Layout(place).ready()
    before = state.load(layout)
    names = ("postgres", "nats", "valkey", "pricing", "pricing-metrics")
    wanted = dict(zip(names, sorted({ports.choose() for _ in range(20)}), strict=False))
    state.save(layout, replace(before, ports=wanted))  # not the usual ones, which any other mesh may take meanwhile
    mesh = launch(place)
    try:
        assert dict(state.load(layout).ports) == wanted
        mark(place, "kept")
        pids = everybody(mesh)
        assert mesh.command("stop").stdout.strip() == "stopped"
        assert mesh.process.wait(30) == 0
        assert not [pid for pid in pids if running(pid)]
        down = mesh.command("status", "--json", check=False)
        assert down.returncode == 1
        assert json.loads(down.stdout)["healthy"] is False
        assert mesh.command("migrate").returncode == 0
    finally:
        stop_mesh(mesh)
    again = launch(place)
    try:
        assert marked(place) == "kept"
        assert dict(state.load(layout).ports) == wanted
    finally:
        assert stop_mesh(again) == 0


def mark(place: Path, text: str) -> None:
    """Write something into the mesh's database."""
    with psycopg.connect(state.load(Layout(place)).dsns["admin"], autocommit=True) as connection:
        connection.execute("CREATE TABLE mark AS SELECT %s::text AS text", (text,))


def marked(place: Path) -> str:
    with psycopg.connect(state.load(Layout(place)).dsns["admin"]) as connection:
        row = connection.execute("SELECT text FROM mark").fetchone()
    assert row is not None
    return str(row[0])


def test_a_supervisor_that_is_killed_takes_everything_along_and_the_next_start_works(place: Path) -> None:
    mesh = launch(place)
    pids = everybody(mesh)
    try:
        mark(place, "before the crash")
        mesh.process.send_signal(signal.SIGKILL)
        mesh.process.wait(10)
        assert until(lambda: not [pid for pid in pids if running(pid)], seconds=20)
        assert runtime.held(Layout(place)) is None
        assert mesh.command("status", check=False).returncode == 1
    finally:
        stop_mesh(mesh)
    again = launch(place)
    try:
        assert again.status()["healthy"]
        assert marked(place) == "before the crash"
    finally:
        assert stop_mesh(again) == 0


def test_stopping_while_starting_leaves_nothing(place: Path) -> None:
    mesh = start_mesh(place, *ONE_SERVICE)
    mesh.wait_printed("postgres is ready")
    pids = everybody(mesh)
    assert stop_mesh(mesh) == 0
    assert not [pid for pid in pids if running(pid)]
    assert "stopped; the data is kept" in mesh.output.read_text()
    home = EmbeddedPostgres(place / "postgres").home
    assert (home / "data" / "PG_VERSION").exists()
    assert mesh.command("reset", "--yes").returncode == 0
    assert not home.exists()
    assert list(place.iterdir()) == []


def test_a_port_that_was_asked_for_and_is_taken_stops_the_start_and_is_named(place: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mesh = start_mesh(place, *ONE_SERVICE, extra={"HOLDFAST_PRICING_LISTEN": f"127.0.0.1:{port}"})
        assert mesh.process.wait(60) == 1
    printed = mesh.output.read_text()
    assert f"port {port} for pricing is in use by" in printed
    assert "HOLDFAST_PRICING_LISTEN" in printed


def test_a_service_that_cannot_start_is_named_with_its_last_words(place: Path) -> None:
    mesh = start_mesh(place, *ONE_SERVICE, extra={"HOLDFAST_LOG_FORMAT": "colourful"})
    assert mesh.process.wait(90) == 1
    printed = mesh.output.read_text()
    assert "HOLDFAST_LOG_FORMAT" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOLDFAST_POSTGRES_PORT", "0"), ("HOLDFAST_NATS_PORT", "x"), ("HOLDFAST_POSTGRES_DSN", "mysql://secret")],
)
def test_a_wrong_variable_stops_the_start_and_is_named(place: Path, variable: str, value: str) -> None:
    mesh = start_mesh(place, *ONE_SERVICE, extra={variable: value})
    assert mesh.process.wait(60) == 2
    printed = mesh.output.read_text()
    assert variable in printed
    assert "secret" not in printed


def test_a_postgres_of_ones_own_is_used_and_none_started(place: Path, tmp_path: Path) -> None:
    own = EmbeddedPostgres(tmp_path / "own")
    try:
        own.start()
        with psycopg.connect(own.dsn(), autocommit=True) as admin:
            admin.execute("CREATE ROLE local_admin LOGIN CREATEROLE PASSWORD 'local-secret'")
            admin.execute("CREATE DATABASE local_own OWNER local_admin")
        dsn = own.dsn(user="local_admin", password="local-secret", database="local_own")
        mesh = launch(place, HOLDFAST_POSTGRES_DSN=dsn)
        try:
            assert [each["name"] for each in mesh.status()["processes"]] == ["nats", "valkey", "pricing"]
            with psycopg.connect(own.dsn(database="local_own")) as connection:
                assert connection.execute("SELECT to_regclass('pricing.price_tiers') IS NOT NULL").fetchone() == (True,)
        finally:
            assert stop_mesh(mesh) == 0
    finally:
        own.remove()


def test_commands_without_a_mesh_say_what_to_do(tmp_path: Path) -> None:
    mesh = start_mesh(tmp_path / "state", "--help")
    assert mesh.process.wait(30) == 0
    for arguments in (
        ("seed",),
        ("token", "--role", "buyer"),
        ("certificate", "orders", "--directory", str(tmp_path)),
        ("verify", "019a9b1e-0000-7000-8000-000000000000"),
    ):
        run = mesh.command(*arguments, check=False)
        assert run.returncode == 1, arguments
        assert "holdfast up" in run.stderr, arguments
        assert "Traceback" not in run.stderr
    assert mesh.command("token", "--role", "king", check=False).returncode == 2
    assert mesh.command("stop").stdout.strip() == "no mesh runs"
    assert mesh.command("doctor").returncode == 0
    unknown = start_mesh(tmp_path / "other", "--services", "orders")
    assert unknown.process.wait(30) == 1
    assert "there is no service 'orders'" in unknown.output.read_text()
