"""PostgreSQL for one machine, from the binaries that a Python package brings."""

import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from holdfast.local import accounts, programs
from holdfast.local.accounts import Account
from holdfast.local.children import Child, running
from holdfast.local.servers import EmbeddedServer, ServerFailedError, secret_file

SUPERUSER = "postgres"
INITDB_SECONDS = 120.0
CONNECT_SECONDS = 2
ELSEWHERE = "elsewhere"
STANDS_FOR = "stands-for"

# Durability is the default on purpose, also for tests: what is not tested with fsync on is not tested.
CONFIGURATION = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
port = {port}
max_connections = 200
shared_buffers = 64MB
fsync = on
full_page_writes = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %q%u@%d '
jit = off
"""
HOST_BASED_AUTHENTICATION = "host all all 127.0.0.1/32 scram-sha-256\n"


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with one cluster of data.

    Run by root it becomes `nobody`, because PostgreSQL refuses root. When that user cannot reach `directory`, the data
    lies in a directory of its own under /var/tmp; `data` says where.
    """

    name = "postgres"

    def __init__(self, directory: Path, port: int = 0, *, log: Path | None = None) -> None:
        """`directory` keeps configuration, password and data; port 0 means any free one."""
        super().__init__(directory, port, log=log)
        self._user = accounts.unprivileged()
        self._home: Path | None = None
        self._programs: programs.PostgresPrograms

    @property
    def home(self) -> Path:
        """Where configuration and data are: `directory`, or what stands for it where the server's user can go."""
        if self._home is None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._user is None:
                self._home = self.directory
            elif accounts.enterable(self.directory.parent, self._user):
                self.directory.chmod(0o711)
                self._home = self.directory
            else:
                self._home = self._outside()
        return self._home

    def _outside(self) -> Path:
        """Return the directory that stands for ours where the server's user can go; `elsewhere` says which it is.

        Its name is random: when somebody deletes our directory and starts anew, nothing old comes back, and when
        somebody moves it, its data comes along. What nobody points to any more is found by `orphans`.
        """
        pointer = self.directory / ELSEWHERE
        if pointer.exists():
            home = Path(pointer.read_text().strip())
            if not home.is_dir():
                raise ServerFailedError(
                    f"{pointer} says that the data is in {home}, which is gone; restore or reset it"
                )
            programs.require_owned(home, os.geteuid())
        else:
            home = programs.outside(self.name, secrets.token_hex(8))
            pointer.write_text(f"{home}\n")
        (home / STANDS_FOR).write_text(f"{self.directory}\n")
        return home

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "data"

    @property
    def password(self) -> str:
        """The superuser's password; made at first use."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return secret_file(self.directory / "password")

    def dsn(self, user: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        """Return a libpq URL; without a password, the superuser's."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def remove(self) -> None:
        """Kill it and delete its data, wherever it had to be put."""
        super().remove()
        home = self.home
        for directory in {home, self.directory}:
            shutil.rmtree(directory, ignore_errors=True)
        self._home = None

    def _account(self) -> Account | None:
        return self._user

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGINT  # a fast shutdown: clients are cut off, everything is flushed

    def _prepare(self) -> None:
        self._programs = programs.postgres(self._user)
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        programs.require_owned(self.data, self._user.uid if self._user else os.geteuid())
        (self.home / "postgresql.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.home / "pg_hba.conf").write_text(HOST_BASED_AUTHENTICATION)
        for name in ("postgresql.conf", "pg_hba.conf"):  # whatever our umask: the server reads them as another user
            (self.home / name).chmod(0o644)

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there when it is complete: a crash leaves no half of one."""
        building = self.home / "data.building"
        password_file = self.home / "initdb-password"
        shutil.rmtree(building, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        building.mkdir(mode=0o700)
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(self.password + "\n")
        if self._user is not None:
            for path in (building, password_file):
                os.chown(path, self._user.uid, self._user.gid)
        initialization = Child(
            name="initdb",
            command=[
                self._programs.initdb,
                f"--pgdata={building}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            environment=self._environment(),
            log=self._log,
            account=self._user,
        )
        try:
            initialization.start()
            finished = initialization.wait(INITDB_SECONDS)
            initialization.kill()
            if not finished or initialization.exit_code != 0:
                raise ServerFailedError(f"initdb failed. The end of its log {self._log}:\n{initialization.log_tail()}")
        finally:
            password_file.unlink(missing_ok=True)
        building.rename(self.data)

    def _command(self) -> Sequence[str | Path]:
        return [
            self._programs.postgres,
            "-D",
            self.data,
            "-c",
            f"config_file={self.home / 'postgresql.conf'}",
            "-c",
            f"hba_file={self.home / 'pg_hba.conf'}",
        ]

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.dsn(), connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerFailedError(
                    f"the data in {self.data} was made with another password than {self.directory / 'password'}; "
                    "restore that file, or reset",
                ) from error
            return False
        return True


def orphans() -> list[Path]:
    """Return directories of data under /var/tmp that stood for one that no longer exists or has other data now."""
    found = []
    for home in programs.commons().glob(f"holdfast-{os.geteuid()}-{EmbeddedPostgres.name}-*"):
        try:
            programs.require_owned(home, os.geteuid())
            pointer = Path((home / STANDS_FOR).read_text().strip()) / ELSEWHERE
            used = pointer.exists() and pointer.read_text().strip() == str(home)
        except (OSError, programs.UntrustedDirectoryError):
            continue
        if not used and not _serves(home / "data"):
            found.append(home)
    return sorted(found)


def _serves(data: Path) -> bool:
    """Tell whether a server works on a data directory now."""
    try:
        first = (data / "postmaster.pid").read_text().split("\n", 1)[0]
    except OSError:
        return False
    return first.isdigit() and running(int(first))
