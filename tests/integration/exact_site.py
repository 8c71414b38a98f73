"""A site on real servers, whose roles and servers a test may kill: what it keeps can be read when all is done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from coldaisle.bus.kafka import KafkaBus
from coldaisle.clock import SystemClock
from coldaisle.codec import HeadCache, encode_event, encode_frame
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording_writer import RecordingWriter
from collectors.shipper import Shipper, ShipperSettings
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator
from tests.integration.influx_server import ORG, TOKEN, InfluxProcess
from tests.integration.kafka_server import KafkaServer, free_ports
from tests.integration.listeners import Inbox, inbox
from tests.integration.postgres_server import PASSWORD, USER, PostgresServer
from tests.integration.programme import ROOT, environment

PARTITIONS = 4
ROLES = ("score", "store", "alert")
FAULTS = (
    ("gpu_off_bus", 40.0),
    ("fan_failure", 50.0),
    ("host_down", 60.0),
    ("ecc_storm", 30.0),
    ("rack_feed_lost", 75.0),
    ("power_cap_forgotten", 42.0),
    ("slow_node", 44.0),
    ("blocked_cold_plate", 46.0),
    ("link_flapping", 70.0),
)
CONFIG = """
hall = "test hall"
topology = "hall/topology.toml"
[storage]
folder = "{role}"
metrics = "influx"
flush_seconds = 1.0
incidents = "postgresql://{user}@127.0.0.1:{postgres}/coldaisle"
incidents_password = "{password}"
[storage.influx]
url = "{influx}"
org = "{org}"
token = "{token}"
raw_days = 0
minute_days = 0
[storage.influx.queue]
folder = "{role}/queue"
[bus]
kind = "kafka"
lag_limit_messages = 100000000
[bus.kafka]
servers = ["{kafka}"]
instance = "{role}-1"
[bus.kafka.topics]
frames = {{ partitions = {partitions}, retention_hours = 24 }}
cohorts = {{ partitions = {partitions}, retention_hours = 24 }}
[snapshots]
seconds = 4.0
[engine]
idle_seconds = 86400.0
[alerts]
group_wait_seconds = 40.0
lateness_seconds = 20.0
[[receiver]]
name = "test"
url = "{webhook}"
"""


class Hall:
    """A simulated hall's life, as frames and events of each second; the same whenever it is told."""

    def __init__(self, start: int, seconds: int, seed: int) -> None:
        self.start, self.seconds = start, seconds
        faults = [{"kind": kind, "after_seconds": after, "lasts_seconds": 600.0} for kind, after in FAULTS]
        self._config = SimulatorConfig.model_validate(
            {"rows": 2, "racks_per_row": 2, "nodes_per_rack": 8, "seed": seed, "start": start, "faults": faults}
        )

    def simulator(self) -> Simulator:
        """Return the hall at its first instant."""
        return Simulator(self._config)

    def write_topology(self, folder: Path) -> None:
        """Write ``topology.toml`` into a folder."""
        with RecordingWriter(folder) as writer:
            writer.write_topology(self.simulator().topology())

    def steps(self) -> Iterator[tuple[int, list[Frame], list[Event]]]:
        """Yield (second, frames, events)."""
        simulator = self.simulator()
        for second in range(self.seconds):
            step = simulator.step()
            yield second, simulator.frames(step), list(step.events)


class Site:
    """Kafka, PostgreSQL, InfluxDB, a receiver of webhooks, and the roles as processes that come back when killed."""

    def __init__(self, folder: Path, hall: Hall) -> None:
        self.folder, self.hall = folder, hall
        self._stack = ExitStack()
        self.inbox: Inbox
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: dict[str, int] = dict.fromkeys(ROLES, 0)
        self._ports = dict(zip(ROLES, free_ports(len(ROLES)), strict=True))

    def __enter__(self) -> Self:
        try:
            self.hall.write_topology(self.folder / "hall")
            self.kafka = self._stack.enter_context(KafkaServer(self.folder / "kafka"))
            self.postgres = self._stack.enter_context(PostgresServer())
            self.postgres.create_database("coldaisle")
            self.influx = self._stack.enter_context(InfluxProcess(self.folder / "influx"))
            self.inbox = self._stack.enter_context(inbox())
            self._stack.callback(self._kill_all)
            for role in ROLES:
                self.config(role).write_text(
                    CONFIG.format(
                        role=role, user=USER, postgres=self.postgres.port, password=PASSWORD, influx=self.influx.url,
                        org=ORG, token=TOKEN, kafka=self.kafka.plaintext, partitions=PARTITIONS, webhook=self.inbox.url,
                    )
                )  # fmt: skip
            self.command("doctor", "--config", str(self.config("alert")), "--fix")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def config(self, role: str) -> Path:
        """Return a role's configuration file."""
        return self.folder / f"{role}.toml"

    def command(self, *words: str) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr + done.stdout
        return done.stdout

    def start(self, role: str) -> None:
        """Start a role's process."""
        words = ("run", role, "--config", str(self.config(role)), "--health-port", str(self._ports[role]))
        with (self.folder / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", "cli", *words], cwd=ROOT, env=environment(), stdout=log, stderr=log
            )

    def kill(self, role: str) -> None:
        """Kill a role's process without a word and start another."""
        child = self.processes[role]
        assert child.poll() is None, f"{role} had ended by itself: {self.log(role)[-3000:]}"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        self.kills[role] += 1
        self.start(role)

    def metrics(self, role: str) -> dict[str, float]:
        """Return a role's own metrics by their line; empty while it does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._ports[role]}/metrics", timeout=2, trust_env=False).text
        except httpx.HTTPError:
            return {}
        pairs = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def log(self, role: str) -> str:
        """Return what a role has said."""
        return (self.folder / f"{role}.log").read_text()

    def stop_all(self) -> dict[str, int]:
        """Ask every role to stop in order; return the exit codes."""
        for child in self.processes.values():
            child.send_signal(signal.SIGTERM)
        return {role: child.wait(15) for role, child in self.processes.items()}

    def shipper(self, bus: KafkaBus) -> Shipper:
        """Return what brings frames to the bus and keeps them on disk while it is away."""
        heads = HeadCache()
        settings = ShipperSettings(spool_dir=self.folder / "spool")
        return Shipper(
            bus.producer(), lambda frame: encode_frame(frame, heads), encode_event, SystemClock(), SelfStats(), settings
        )

    def _kill_all(self) -> None:
        for child in self.processes.values():
            if child.poll() is None:
                child.kill()
            child.wait(10)


class Storm(threading.Thread):
    """Kills roles and takes servers away, all according to a plan."""

    def __init__(self, site: Site, kills: int, seconds: float, seed: int) -> None:
        super().__init__(name="storm")
        self._site = site
        chance = random.Random(seed)
        gap = seconds / kills
        plan: list[tuple[float, str]] = []
        for number in range(kills):
            plan.append(((number + chance.uniform(0.1, 0.9)) * gap, ROLES[number % len(ROLES)]))
        plan += [(0.22 * seconds, "broker"), (0.62 * seconds, "broker")]
        plan += [(0.38 * seconds, "postgres away"), (0.38 * seconds + 20.0, "postgres back")]
        plan += [(0.30 * seconds, "influx away"), (0.30 * seconds + 20.0, "influx back")]
        self._plan = sorted(plan)
        self.error: BaseException | None = None

    def run(self) -> None:
        """Follow the plan; an error is kept for the test."""
        began = time.monotonic()
        try:
            for at, what in self._plan:
                time.sleep(max(0.0, began + at - time.monotonic()))
                self._do(what)
        except BaseException as error:
            self.error = error

    def _do(self, what: str) -> None:
        site = self._site
        if what == "broker":
            site.kafka.kill()
            site.kafka.start()
        elif what == "postgres away":
            site.postgres.stop(immediately=True)
        elif what == "postgres back":
            site.postgres.start()
        elif what == "influx away":
            site.influx.stop()
        elif what == "influx back":
            site.influx.start()
        else:
            site.kill(what)
