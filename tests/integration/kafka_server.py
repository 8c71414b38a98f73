"""A real Kafka broker of one node for tests: started, killed and started again on the same ports and data."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from coldaisle.bus import ANOMALIES, COHORTS, DEADLETTERS, EVENTS, FRAMES, kafka_topics
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.clock import SystemClock
from coldaisle.selfstats import SelfStats

VERSION = "4.3.0"
USER, PASSWORD = "coldaisle", "canary-of-the-broker"
_STARTS_WITHIN_SECONDS = 60.0
_POM = Path(__file__).with_name("kafka_jars.xml")
_LISTENERS = ("PLAINTEXT", "SSL", "SASL_SSL", "CONTROLLER")
_LOGGING = """<Configuration><Appenders><Console name="out" target="SYSTEM_OUT">
<PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers></Configuration>"""


class Unavailable(Exception):
    """Why no broker can run on this machine."""


def jars() -> Path:
    """Return the folder of the broker's jars; the first call on a machine fetches them. Raises Unavailable."""
    root = Path(os.environ.get("COLDAISLE_CACHE", "~/.cache/coldaisle")).expanduser()
    folder = root / f"kafka-{VERSION}"
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        for word in ("java", "mvn"):
            if shutil.which(word) is None:
                raise Unavailable(f"{word} is not installed: NO TEST MET A KAFKA BROKER; run deploy/system-packages.sh")
        with tempfile.TemporaryDirectory(dir=root) as place:
            work = Path(place)
            shutil.copy(_POM, work / "pom.xml")
            fetched = subprocess.run(
                ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"],
                cwd=work,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
            if fetched.returncode != 0:
                raise Unavailable(f"Maven could not fetch Kafka: {fetched.stdout[-400:]}")
            (work / "libs").rename(folder)
    return folder


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


class KafkaServer:
    """
    One broker in ``folder``, stopped until ``start``.

    ``plaintext``, ``tls`` and ``sasl_tls`` are its addresses; ``ca_file`` has signed its certificate;
    ``client_cert_file`` with ``client_key_file`` is what the listener ``tls`` asks of a client. The user
    ``USER`` may log in to ``sasl_tls`` by SCRAM-SHA-256 and SCRAM-SHA-512.
    """

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._jars = jars()
        ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
        self.plaintext, self.tls, self.sasl_tls = (f"127.0.0.1:{ports[name]}" for name in _LISTENERS[:3])
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._write_certificates()
        self._properties = folder / "server.properties"
        wanted = self._settings(ports) | (settings or {})
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in wanted.items()))
        (folder / "log4j2.xml").write_text(_LOGGING)
        self._format()

    def start(self) -> None:
        """Start it and return when it serves. Raises AssertionError with its words where it does not."""
        assert self._process is None
        log = (self.folder / "broker.log").open("ab")
        command = self._java("kafka.Kafka", str(self._properties), memory=("-Xmx512m", "-Xms256m"))
        self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        log.close()
        until = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not all(self._listens(each) for each in (self.plaintext, self.tls, self.sasl_tls)):
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"the broker did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether it was started and neither stopped nor killed."""
        return self._process is not None

    def stop(self) -> None:
        """Ask it to stop, wait; safe to call twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a power cut would; safe to call twice."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """Return what it has said."""
        return (self.folder / "broker.log").read_text(errors="replace")

    def __enter__(self) -> KafkaServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    @staticmethod
    def _listens(address: str) -> bool:
        host, port = address.split(":")
        try:
            socket.create_connection((host, int(port)), 1.0).close()
        except OSError:
            return False
        return True

    def _java(self, name: str, *words: str, memory: tuple[str, ...] = ("-Xmx128m",)) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}"
        quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return ["java", *memory, *quick, logging, "-cp", f"{self._jars}/*", name, *words]

    def _format(self) -> None:
        scram = [
            word
            for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{kind}=[name={USER},password={PASSWORD}]")
        ]
        # Any 16 bytes in unpadded URL-safe base 64 name a cluster.
        command = ["format", "-t", "Y29sZGFpc2xlLXRlc3RzMA", "-c", str(self._properties), *scram]
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *command), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        server = authority.issue_cert("127.0.0.1", "localhost")
        # Kafka reads PEM keys in PKCS 8 only.
        key = load_pem_private_key(server.private_key_pem.bytes(), None)
        chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "broker.pem").write_bytes(pkcs8 + chain)
        client = authority.issue_cert("client@coldaisle.test")
        self.client_cert_file, self.client_key_file = self.folder / "client.pem", self.folder / "client-key.pem"
        self.client_cert_file.write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
        client.private_key_pem.write_to_path(str(self.client_key_file))

    def _settings(self, ports: dict[str, int]) -> dict[str, str]:
        addresses = [f"{name}://127.0.0.1:{port}" for name, port in ports.items()]
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
            "listeners": ",".join(addresses),
            "advertised.listeners": ",".join(addresses[:-1]),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": login,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": login,
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "auto.create.topics.enable": "false",
            # One that was killed may come back when its old registration has lapsed: 9 s unless told otherwise.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        }


def fresh_config(server: KafkaServer, partitions: int = 4, **settings: Any) -> KafkaConfig:
    """Return settings with topics and groups that no other test touches; nothing is made yet."""
    topics = {name: {"partitions": partitions} for name in (FRAMES, EVENTS, COHORTS, ANOMALIES, DEADLETTERS)}
    given: dict[str, Any] = {"servers": (server.plaintext,), "prefix": f"{secrets.token_hex(4)}.", "topics": topics}
    return KafkaConfig.model_validate(given | settings)


def fresh_bus(
    server: KafkaServer,
    stats: SelfStats | None = None,
    partitions: int = 4,
    config: KafkaConfig | None = None,
) -> KafkaBus:
    """Return a bus with topics of its own, made as ``coldaisle doctor --fix`` makes them."""
    config = config or fresh_config(server, partitions)
    left = [finding for finding in kafka_topics.fix(config, SystemClock()) if finding.severity != "ok"]
    assert left == []
    return KafkaBus(config, stats)
