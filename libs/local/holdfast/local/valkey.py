"""Valkey for one machine: a cache, kept nowhere."""

import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from holdfast.local import programs
from holdfast.local.servers import EmbeddedServer, secret_file

ANSWER_SECONDS = 2.0

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
appendonly no
save ""
maxmemory 64mb
maxmemory-policy allkeys-lru
databases 16
daemonize no
set-proc-title no
"""


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server that forgets everything when it ends: nothing that matters is only there."""

    name = "valkey"

    @property
    def url(self) -> str:
        """`redis://:password@127.0.0.1:port/0`."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def remove(self) -> None:
        """Kill it and delete its directory."""
        super().remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _password(self) -> str:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return secret_file(self.directory / "password")

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def _prepare(self) -> None:
        directory = str(self.directory).replace("\\", "\\\\").replace('"', '\\"')
        configuration = CONFIGURATION.format(port=self.port, password=self._password, directory=f'"{directory}"')
        path = self.directory / "valkey.conf"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(configuration)

    def _command(self) -> Sequence[str | Path]:
        return [programs.valkey(), self.directory / "valkey.conf"]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.readline(1024) == b"+OK\r\n" and answers.readline(1024) == b"+PONG\r\n"
        except OSError:
            return False
