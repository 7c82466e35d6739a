"""The embedded servers, started for real: they keep their data, come back, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import psutil
import psycopg
import pytest
import redis
from nats.js.api import StorageType, StreamConfig

from holdfast.local import accounts, programs
from holdfast.local.children import running
from holdfast.local.nats import EmbeddedNats
from holdfast.local.ports import PortTakenError
from holdfast.local.postgres import EmbeddedPostgres, orphans
from holdfast.local.programs import UntrustedDirectoryError
from holdfast.local.servers import ServerFailedError
from holdfast.local.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.local.servers import EmbeddedServer

KINDS = (EmbeddedPostgres, EmbeddedNats, EmbeddedValkey)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[EmbeddedNats]:
    server = EmbeddedNats(tmp_path / "nats")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(running(pid) for pid in pids)


def family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def test_postgres_is_durable_local_and_locked(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.dsn()) as connection:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SELECT rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolsuper").fetchone() == (
            True,
        )
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.dsn(password="wrong"))
    assert (postgres.directory / "password").stat().st_mode & 0o777 == 0o600
    assert postgres.data.stat().st_mode & 0o777 == 0o700


def test_postgres_never_runs_as_root(postgres: EmbeddedPostgres) -> None:
    account = accounts.unprivileged()
    expected = account.uid if account else os.geteuid()
    users = set()
    for pid in family(postgres.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # background workers come and go
            users.add(psutil.Process(pid).uids().real)
    assert users == {expected}
    assert postgres.data.stat().st_uid == expected


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_postgres_keeps_what_was_committed(postgres: EmbeddedPostgres, how: str) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (42)")
    pids, port = family(postgres.pid), postgres.port
    getattr(postgres, how)()
    assert gone(pids)
    assert not postgres.alive
    postgres.start()
    assert postgres.port == port
    with psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (42,)


def test_a_crash_in_the_first_start_leaves_no_half_of_a_cluster(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        (server.home / "data.building").mkdir()
        (server.home / "data.building" / "PG_VERSION").write_text("18\n")
        (server.home / "initdb-password").write_text("left over")
        server.start()
        assert not (server.home / "data.building").exists()
        assert not (server.home / "initdb-password").exists()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.remove()


def test_removing_a_server_leaves_no_file(tmp_path: Path) -> None:
    for kind in KINDS:
        server: EmbeddedServer = kind(tmp_path / kind.name)
        server.start()
        homes = [server.directory, *([server.home] if isinstance(server, EmbeddedPostgres) else [])]
        server.remove()
        assert [home for home in homes if home.exists()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_data_lies_outside_a_directory_that_only_its_owner_may_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    first, second = (EmbeddedPostgres(private / name) for name in ("first", "second"))
    try:
        first.start()
        second.start()
        assert private not in first.data.parents
        assert first.data != second.data
        assert first.home.stat().st_uid == 0
        assert EmbeddedPostgres(private / "first").data == first.data
        assert not {first.home, second.home} & set(orphans())
    finally:
        first.remove()
        second.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_a_state_directory_that_was_deleted_and_made_again_starts_with_nothing_old(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    first = EmbeddedPostgres(private / "state")
    first.start()
    first.stop()
    shutil.rmtree(first.directory)
    second = EmbeddedPostgres(private / "state")
    try:
        second.start()
        assert second.home != first.home
        assert first.home in orphans()
        assert second.home not in orphans()
    finally:
        homes = {first.home, second.home}
        second.remove()
        first.remove()
    assert not [home for home in homes if home.exists()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_data_comes_along_when_its_directory_is_moved(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    first = EmbeddedPostgres(private / "before")
    first.start()
    first.stop()
    first.directory.rename(private / "after")
    second = EmbeddedPostgres(private / "after")
    try:
        second.start()
        assert second.data == first.data
        assert second.home not in orphans()
    finally:
        second.remove()


def test_data_made_with_another_password_is_said_at_once(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    (postgres.directory / "password").write_text("another\n")
    begin = time.monotonic()
    with pytest.raises(ServerFailedError, match="another password"):
        postgres.start()
    assert time.monotonic() - begin < 10
    assert not postgres.alive


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_programs_that_the_server_cannot_reach_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "clone"
    private.mkdir(mode=0o700)
    package = programs._package_directory(programs.POSTGRES_PACKAGE)
    assert package is not None
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, private / part.name)
    moved = private / package.name
    monkeypatch.setattr(programs, "_package_directory", lambda _name: moved)
    server = EmbeddedPostgres(private / "state")
    copies = programs.outside("programs", programs.digest(moved))
    try:
        server.start()
        ran = Path(psutil.Process(server.pid).exe())
        assert copies in ran.parents
        stamp = ran.stat().st_mtime_ns
        server.stop()
        server.start()
        assert ran.stat().st_mtime_ns == stamp
        assert len(list(copies.iterdir())) == 1
        assert ran.stat().st_uid == 0
        assert not ran.stat().st_mode & 0o022
    finally:
        server.remove()
        shutil.rmtree(copies)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_that_somebody_else_prepared_is_not_trusted() -> None:
    planted = programs.outside("planted", "test")
    try:
        os.chown(planted, 12345, 12345)
        with pytest.raises(UntrustedDirectoryError, match="remove it"):
            programs.outside("planted", "test")
        os.chown(planted, 0, 0)
        planted.chmod(0o777)
        with pytest.raises(UntrustedDirectoryError):
            programs.outside("planted", "test")
    finally:
        planted.rmdir()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_nats_keeps_what_it_acknowledged(bus: EmbeddedNats, how: str) -> None:
    client = await nats.connect(bus.url)
    stream = client.jetstream()
    await stream.add_stream(StreamConfig(name="KEPT", subjects=["kept.>"], storage=StorageType.FILE))
    await stream.publish("kept.one", b"body")
    await client.close()
    getattr(bus, how)()
    assert not bus.alive
    bus.start()
    client = await nats.connect(bus.url)
    assert (await client.jetstream().get_msg("KEPT", 1)).data == b"body"
    await client.close()


def test_nats_lets_nobody_in_without_the_password(bus: EmbeddedNats) -> None:
    with socket.create_connection(("127.0.0.1", bus.port), timeout=5) as stranger, stranger.makefile("rb") as answers:
        assert b'"auth_required":true' in answers.readline()
        stranger.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        assert answers.readline().startswith(b"-ERR 'Authorization Violation'")
    assert (bus.directory / "nats.conf").stat().st_mode & 0o777 == 0o600


def test_valkey_lets_nobody_in_without_the_password_and_forgets(cache: EmbeddedValkey) -> None:
    with closing(redis.Redis.from_url(cache.url)) as client:
        client.set("key", "value")
    with closing(redis.Redis(port=cache.port)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("key")
    cache.kill()
    cache.start()
    with closing(redis.Redis.from_url(cache.url)) as client:
        assert client.get("key") is None
    assert (cache.directory / "valkey.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_in_use_is_named_with_its_variable(kind: type[EmbeddedServer], tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = kind(tmp_path / "server", port)
        with pytest.raises(PortTakenError) as caught:
            server.start()
    assert str(port) in str(caught.value)
    assert f"HOLDFAST_{kind.name.upper()}_PORT" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    server.remove()


def test_a_server_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    server = EmbeddedNats(tmp_path / "nats")
    server.directory.mkdir()
    (server.directory / "store").write_text("a file where a directory must be")
    try:
        with pytest.raises(ServerFailedError, match="storage directory is not a directory"):
            server.start()
        assert not server.alive
    finally:
        server.remove()


SCRIPT = """
import sys, time
from pathlib import Path
from holdfast.local.nats import EmbeddedNats
from holdfast.local.postgres import EmbeddedPostgres, orphans
from holdfast.local.valkey import EmbeddedValkey

for kind in (EmbeddedPostgres, EmbeddedNats, EmbeddedValkey):
    server = kind(Path(sys.argv[1]) / kind.name)
    server.start()
    print(server.pid, flush=True)
time.sleep(300)
"""


def interpreter_for(account_uid: int) -> str | None:
    """Return an interpreter of this version that another user can run."""
    account = accounts.Account(name="", uid=account_uid, gid=account_uid)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        if Path(candidate).exists() and accounts.reachable(Path(candidate), account):
            return candidate
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all of these tests as one already")
def test_an_ordinary_user_runs_all_servers_as_itself() -> None:
    interpreter = interpreter_for(accounts.NOBODY_UID)
    if interpreter is None:
        pytest.skip("no interpreter that another user can run")
    home = programs.outside("test", "ordinary")
    state = home / "state"
    state.mkdir(mode=0o700)
    os.chown(state, accounts.NOBODY_UID, accounts.NOBODY_UID)
    clone = Path(__file__).parents[3]
    packages = Path(psycopg.__file__).parents[1]
    path = [clone / "libs" / "local", clone / "libs" / "common", clone / "libs" / "api", packages]
    parent = subprocess.Popen(  # noqa: S603 - our own script
        [interpreter, "-c", SCRIPT, str(state)],
        stdout=subprocess.PIPE,
        text=True,
        user=accounts.NOBODY_UID,
        group=accounts.NOBODY_UID,
        extra_groups=[],
        env={"PYTHONPATH": os.pathsep.join(str(part) for part in path), "PATH": str(Path(sys.executable).parent)},
    )
    try:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline() or 0) for _ in KINDS]
        assert 0 not in pids
        everybody = [pid for leader in pids for pid in family(leader)]
        assert {psutil.Process(pid).uids().real for pid in everybody} == {accounts.NOBODY_UID}
        assert (state / "postgres" / "data" / "PG_VERSION").exists()
        parent.kill()
        assert gone(everybody)
    finally:
        parent.kill()
        parent.wait(10)
        if parent.stdout is not None:
            parent.stdout.close()
        shutil.rmtree(home)


def test_servers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in KINDS]
        everybody = [pid for leader in pids for pid in family(leader)]
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        assert gone(everybody)
    finally:
        parent.kill()
        parent.wait(10)
        if parent.stdout is not None:
            parent.stdout.close()
        for kind in KINDS:
            kind(tmp_path / kind.name).remove()
