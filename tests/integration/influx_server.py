"""A real InfluxDB 2 for tests: started, stopped, killed and restarted on the same port and folder."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pydantic import SecretStr

from coldaisle.clock import rfc3339
from coldaisle.store.influx_settings import InfluxConfig

BUILD = Path(__file__).resolve().parents[2] / "deploy" / "build-influxd.sh"
ORG, TOKEN = "hall", "an-operator-token-for-tests"
_STARTS_WITHIN_SECONDS = 30.0


def config_of(server: InfluxProcess, bucket: str, queue: Path | None = None, **more: Any) -> InfluxConfig:
    """Return the settings of a store on ``server`` that keeps everything, whatever the day."""
    given = {"url": server.url, "org": ORG, "token": SecretStr(TOKEN), "raw_days": 0, "minute_days": 0}
    return InfluxConfig.model_validate(given | {"bucket": bucket, "queue": {"folder": queue}} | more)


def influxd() -> Path:
    """Return the server that ``make test`` built; skips, loudly, where there is none."""
    done = subprocess.run([str(BUILD), "--if-built"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"NO TEST MET A REAL INFLUXDB: {done.stderr.strip().splitlines()[0]}")
    return Path(done.stdout.strip())


class InfluxProcess:
    """One server on a free port of loopback, set up with ``ORG`` and ``TOKEN``; its data below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._binary = influxd()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        first = {"username": "test", "password": "a-password", "org": ORG, "bucket": "default", "token": TOKEN}
        self.post("/api/v2/setup", first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the same port and folder as before; return when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        words = {
            "bolt-path": self._folder / "bolt",
            "sqlite-path": self._folder / "sqlite",
            "engine-path": self._folder / "engine",
            "http-bind-address": f"127.0.0.1:{self._port}",
            "log-level": "error",
        }
        command = [str(self._binary), "--reporting-disabled", *(f"--{key}={value}" for key, value in words.items())]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "HOME": str(self._folder)}
            )
        deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "InfluxDB did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end; return when it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at this instant."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stand, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def get(self, path: str, token: str = TOKEN) -> Any:
        """Return the JSON that ``path`` answers."""
        return self._ask(urllib.request.Request(self.url + path), token)

    def post(self, path: str, body: dict[str, Any], token: str = TOKEN) -> Any:
        """Post JSON; return the JSON that comes back."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        return self._ask(request, token)

    def make_bucket(self, name: str, keep_seconds: int = 0) -> None:
        """Make a bucket without asking the code under test."""
        org = self.get("/api/v2/orgs")["orgs"][0]["id"]
        rules = [{"type": "expire", "everySeconds": keep_seconds}] if keep_seconds else []
        self.post("/api/v2/buckets", {"orgID": org, "name": name, "retentionRules": rules})

    def token(self, *permissions: dict[str, Any]) -> str:
        """Return a token with these permissions only."""
        org = self.get("/api/v2/orgs")["orgs"][0]["id"]
        return str(self.post("/api/v2/authorizations", {"orgID": org, "permissions": list(permissions)})["token"])

    def may(self, action: str, kind: str) -> dict[str, Any]:
        """Return one permission for ``token``."""
        org = self.get("/api/v2/orgs")["orgs"][0]["id"]
        return {"action": action, "resource": {"type": kind, "orgID": org}}

    def write_lines(self, bucket: str, lines: str) -> None:
        """Write as anybody else might."""
        path = f"/api/v2/write?org={ORG}&bucket={bucket}"
        self._ask(urllib.request.Request(self.url + path, lines.encode(), method="POST"), TOKEN)

    def run_task(self, name: str, scheduled_for: int) -> None:
        """Run a task as if it were ``scheduled_for`` (ns); return when it has run."""
        (task,) = self.get(f"/api/v2/tasks?name={urllib.parse.quote(name)}")["tasks"]
        runs = f"/api/v2/tasks/{task['id']}/runs"
        run = self.post(runs, {"scheduledFor": rfc3339(scheduled_for)})
        deadline = time.monotonic() + 30
        while (state := self._run_state(f"{runs}/{run['id']}")) not in ("success", "failed"):
            assert time.monotonic() < deadline, f"{name} did not run: {state}"
            time.sleep(0.05)
        assert state == "success", self.get(f"{runs}/{run['id']}")

    def windows(self, bucket: str, start: int, stop: int) -> dict[int, dict[str, float]]:
        """Return the fields of the windows in [start, stop), by their beginning (ns); of one series."""
        flux = (
            f'from(bucket: "{bucket}") |> range(start: time(v: {start}), stop: time(v: {stop}))'
            " |> toFloat() |> map(fn: (r) => ({r with at: int(v: r._time)}))"
            ' |> keep(columns: ["at", "_field", "_value"])'
        )
        body = json.dumps({"query": flux, "dialect": {"annotations": []}}).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/query?org={ORG}", body, method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Token {TOKEN}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            rows = csv.DictReader(line for line in answer.read().decode().splitlines() if line)
            found: dict[int, dict[str, float]] = {}
            for row in rows:
                if row["_field"] != "_field":
                    found.setdefault(int(row["at"]), {})[row["_field"]] = float(row["_value"])
        return dict(sorted(found.items()))

    def _run_state(self, path: str) -> str:
        try:
            return str(self.get(path)["status"])
        except urllib.error.HTTPError as error:
            return str(error.code)  # between its end and its log it is nowhere for a moment

    def _ask(self, request: urllib.request.Request, token: str) -> Any:
        request.add_header("Authorization", f"Token {token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None
