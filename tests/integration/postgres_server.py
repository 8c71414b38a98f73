"""A real PostgreSQL of a test's own: made, started, stopped, killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from pydantic import SecretStr

USER = "coldaisle"
PASSWORD = "not-the-real-one"
_UNPRIVILEGED = "postgres"
_STARTS_WITHIN_SECONDS = 30.0


def programme(name: str) -> Path | None:
    """Return where a programme of PostgreSQL is; Debian keeps the server's off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True)
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    found = shutil.which(name)
    return None if found is None else Path(found)


def missing() -> str | None:
    """Return why no PostgreSQL can be started here, None where one can."""
    if programme("initdb") is None or programme("postgres") is None:
        return "PostgreSQL is not installed (deploy/system-packages.sh): NOTHING WAS TESTED AGAINST IT"
    if os.geteuid() == 0:
        try:
            _ids()
        except KeyError:
            return f"PostgreSQL refuses root and there is no user {_UNPRIVILEGED}: NOTHING WAS TESTED AGAINST IT"
    return None


def _ids() -> tuple[int, int]:
    found = pwd.getpwnam(_UNPRIVILEGED)
    return found.pw_uid, found.pw_gid


class PostgresServer:
    """
    One server in a folder of its own below the system's temporary one, on a free port of 127.0.0.1.

    Safe settings as in production (fsync, synchronous commit), SCRAM passwords. ``with PostgresServer() as
    server`` makes and starts it, and stops and removes it whatever happens.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="coldaisle-pg-"))
        self.port = _free_port()
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        try:
            self.make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def url(self, database: str = "coldaisle", user: str = USER) -> str:
        """Return the URL of a database, without the password."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    @property
    def password(self) -> SecretStr:
        """The password of every user."""
        return SecretStr(PASSWORD)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def make(self) -> None:
        """Lay its folder."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self._own(self.folder)
        self._own(secret)
        self._command(
            "initdb", "--pgdata", str(self.folder / "data"), "--username", USER, "--pwfile", str(secret),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; the port stays the same over its lives."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "log_min_messages": "fatal",
            **self._settings,
        }
        arguments = [str(programme("postgres")), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **_unprivileged()
            )
        self._wait()
        self.create_database("coldaisle")

    def stop(self, immediately: bool = False) -> None:
        """Stop it: in order, or at once as when the power fails."""
        self._end(signal.SIGQUIT if immediately else signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def away(self, seconds: float) -> threading.Timer:
        """Stop it now and start it again after ``seconds``, in the background; join what is returned."""
        self.stop(immediately=True)
        back = threading.Timer(seconds, self.start)
        back.start()
        return back

    def create_database(self, name: str) -> str:
        """Make a database unless there is one; return its URL."""
        with self.connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def connect(self, database: str = "coldaisle") -> psycopg.Connection:
        """Return a connection of the test's own, each statement a transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database,
            autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def remove(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """Return what it said."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _wait(self) -> None:
        until = monotonic() + _STARTS_WITHIN_SECONDS
        pause = threading.Event()
        while True:
            assert self._process is not None
            assert self._process.poll() is None, f"PostgreSQL ended: {self.log()}"
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                assert monotonic() < until, f"PostgreSQL does not answer: {self.log()}"
                pause.wait(0.05)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(20)

    def _command(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programme(name)), *arguments], cwd=self.folder, capture_output=True, check=False, **_unprivileged()
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, *_ids())


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    user, group = _ids()
    return {"user": user, "group": group}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
