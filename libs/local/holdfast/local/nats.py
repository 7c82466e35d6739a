"""NATS with JetStream for one machine."""

import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from holdfast.local import programs
from holdfast.local.servers import EmbeddedServer, secret_file

USER = "holdfast"
ANSWER_SECONDS = 2.0

# sync_interval always: an acknowledged message is on disk. This server's is the only copy there is.
CONFIGURATION = """\
server_name: holdfast-local
listen: "127.0.0.1:{port}"
authorization {{
  user: "{user}"
  password: "{password}"
}}
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  max_memory_store: 64MB
  max_file_store: 8GB
}}
max_payload: 1MB
max_connections: 1000
"""


class EmbeddedNats(EmbeddedServer):
    """A NATS server with JetStream on file storage, one user, and every acknowledged message synced to disk."""

    name = "nats"

    @property
    def url(self) -> str:
        """`nats://user:password@127.0.0.1:port`."""
        return f"nats://{USER}:{self._password}@127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """Where JetStream keeps its streams."""
        return self.directory / "store"

    def remove(self) -> None:
        """Kill it and delete its data."""
        super().remove()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _password(self) -> str:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return secret_file(self.directory / "password")

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def _prepare(self) -> None:
        configuration = CONFIGURATION.format(port=self.port, user=USER, password=self._password, store=self.store)
        path = self.directory / "nats.conf"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(configuration)

    def _command(self) -> Sequence[str | Path]:
        return [programs.nats(), "--config", self.directory / "nats.conf"]

    def _answers(self) -> bool:
        greeting = f'CONNECT {{"user":"{USER}","pass":"{self._password}","verbose":false}}\r\nPING\r\n'
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS) as connection:
                connection.sendall(greeting.encode())
                with connection.makefile("rb") as answers:
                    information, answer = answers.readline(64 * 1024), answers.readline(1024)
        except OSError:
            return False
        return information.startswith(b"INFO ") and b'"jetstream":true' in information and answer.startswith(b"PONG")
