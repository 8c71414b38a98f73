"""docker-compose.yml, started: every service with the command, user, mounts, settings and secrets that it names."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.container import Container, Network, skip_unless_possible
from tests.deployed import DEPLOY, LONG_RUNNING, ROOT, documents, environment_of
from tests.integration.influx_server import influxd
from tests.integration.kafka_server import Unavailable, jars
from tests.integration.postgres_server import missing as no_postgres
from tests.integration.postgres_server import programme

pytestmark = [
    pytest.mark.integration,
    pytest.mark.influxdb,
    pytest.mark.xdist_group("influxdb"),
    pytest.mark.timeout(600),
]

_QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*'"
# What the entry points of the three images do with the same environment; the images themselves cannot be had here.
_ENTRY_POINTS = {
    "kafka": rf"""
        java -Xmx128m {_QUICK} kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
            --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config &&
        exec java $KAFKA_HEAP_OPTS {_QUICK} -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml \
            kafka.Kafka /opt/kafka/config/server.properties
        """,
    "influxdb": "exec influxd --bolt-path /var/lib/influxdb2/influxd.bolt --engine-path /var/lib/influxdb2/engine",
    "postgres": r"""
        data=/var/lib/postgresql/data &&
        initdb --pgdata=$data --username=$POSTGRES_USER --pwfile=$POSTGRES_PASSWORD_FILE $POSTGRES_INITDB_ARGS &&
        echo "host all all all scram-sha-256" >>$data/pg_hba.conf &&
        echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D $data postgres &&
        exec postgres -D $data -c listen_addresses='*'
        """,
}
_LOG4J = "Configuration: {Appenders: {Console: {name: out}}, Loggers: {Root: {level: warn, AppenderRef: {ref: out}}}}\n"
_API_VERSIONS = f"""#!/bin/sh
exec java $KAFKA_HEAP_OPTS {_QUICK} org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
"""
_INFLUX_SETUP = """
import json, os, urllib.request
def told(name):
    path = os.environ.get(f"DOCKER_INFLUXDB_INIT_{name}_FILE")
    return open(path).read().strip() if path else os.environ[f"DOCKER_INFLUXDB_INIT_{name}"]
body = {"username": told("USERNAME"), "password": told("PASSWORD"), "token": told("ADMIN_TOKEN"),
        "org": told("ORG"), "bucket": told("BUCKET")}
urllib.request.urlopen("http://localhost:8086/api/v2/setup", json.dumps(body).encode(), timeout=30)
"""


class House:
    """Every service of the Compose file in its own container, on one network."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._document = documents(ROOT / "docker-compose.yml")[0]
        self.services: dict[str, dict[str, Any]] = self._document["services"]
        self.secrets = folder / "secrets"
        subprocess.run([DEPLOY / "compose" / "make-secrets.sh", self.secrets], check=True, capture_output=True)
        self._folder = folder
        self._network = stack.enter_context(Network(tuple(self.services)))
        self._image = _image_environment()
        self._parts = _parts_of_images(folder)
        self.containers = {name: self._container(name) for name in self.services}
        for container in self.containers.values():
            stack.callback(container.kill)

    def _container(self, name: str) -> Container:
        service = self.services[name]
        mounts = dict(self._parts.get(name, {}))
        for each in service.get("configs", []):
            mounts[each["target"]] = ROOT / self._document["configs"][each["source"]]["file"]
        for secret in service.get("secrets", []):
            mounts[f"/run/secrets/{secret}"] = self.secrets / secret
        return Container(self._network, self._folder / name, service, self._image | environment_of(service), mounts)

    def start(self, *names: str) -> None:
        """Start services side by side, and wait until each says that it is healthy."""
        for name in names:
            entry = _ENTRY_POINTS.get(name)
            self.containers[name].start(*(["sh", "-c", entry] if entry else self.command(name)))
        for name in names:
            eventually(self.containers[name].healthy, f"{name} is healthy", self.containers[name].words)

    def command(self, name: str) -> list[str]:
        """Return what a container of our image runs."""
        return ["coldaisle", *self.services[name]["command"]]


def eventually(true: Any, what: str, words: Any, within_seconds: float = 150.0) -> None:
    until = time.monotonic() + within_seconds
    while not true():
        assert time.monotonic() < until, f"not within {within_seconds} s: {what}; {words()[-2000:]}"
        time.sleep(0.5)  # a look at Kafka starts a JVM


def _image_environment() -> dict[str, str]:
    """What our Dockerfile sets, and a PATH on which a stand-in for each server's programmes is found."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    found = dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())
    server = programme("postgres")
    found["PATH"] = found["PATH"].replace("$PATH", f"/usr/local/bin:/usr/bin:/bin:{server.parent if server else ''}")
    return found


def _parts_of_images(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of the servers' images that their health checks and entry points use."""
    kafka = folder / "of-kafka"
    kafka.mkdir()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (kafka / name).write_text(_LOG4J)
    script = folder / "kafka-broker-api-versions.sh"
    script.write_text(_API_VERSIONS)
    script.chmod(0o755)
    return {
        "kafka": {
            "/etc/kafka/docker": kafka,
            "/opt/kafka/libs": jars(),
            "/opt/kafka/bin/kafka-broker-api-versions.sh": script,
        },
        "influxdb": {"/usr/local/bin": influxd().parent},
    }


def _compile_as_pip_does() -> None:
    """Else every container compiles everything again: none may write beside the sources."""
    packages = [str(ROOT / name) for name in ("coldaisle", "collectors", "pipeline", "models", "dashboard", "cli")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *packages], check=True, capture_output=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    skip_unless_possible()
    reason = no_postgres()
    if reason is not None:
        pytest.skip(reason)
    try:
        jars()
    except Unavailable as error:
        pytest.skip(str(error))
    _compile_as_pip_does()
    with ExitStack() as stack:
        made = House(stack, tmp_path_factory.mktemp("house"))
        made.start(*_ENTRY_POINTS)
        done = made.containers["influxdb"].within("python", "-c", _INFLUX_SETUP)
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture(scope="module")
def running(house: House) -> House:
    """The house once its doctor has made what the servers lack, with every role up."""
    doctor = house.containers["doctor"]
    assert doctor.run(*house.command("doctor")) == 0, doctor.words()[-2000:]
    house.start(*LONG_RUNNING)
    return house


def page(house: House, path: str, *headers: str) -> tuple[int, str]:
    """Ask the page from within its container, as a browser on the host would through the published port."""
    ask = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", f"http://127.0.0.1:8800{path}"]
    done = house.containers["serve"].within(*ask, *(word for each in headers for word in ("--header", each)))
    assert done.returncode == 0, done.stderr
    body, _, code = done.stdout.rpartition("\n")
    return int(code), body


def test_every_role_becomes_ready_with_what_the_doctor_has_made(running: House) -> None:
    for role in LONG_RUNNING:
        assert running.containers[role].running


def test_the_doctor_finds_nothing_more_to_do(running: House) -> None:
    doctor = running.containers["doctor"]
    before = len(doctor.words())
    assert doctor.run(*running.command("doctor")) == 0, doctor.words()
    assert "made" not in doctor.words()[before:]


def test_what_the_collectors_read_reaches_influxdb(running: House) -> None:
    count = """from(bucket: "coldaisle") |> range(start: -1h) |> filter(fn: (r) => r.node == "this-machine")
        |> group() |> count() |> keep(columns: ["_value"])"""
    ask = f"""
import urllib.request
token = open("/run/secrets/influxdb-token").read().strip()
headers = {{"Authorization": "Token " + token, "Content-Type": "application/vnd.flux", "Accept": "application/csv"}}
request = urllib.request.Request("http://influxdb:8086/api/v2/query?org=coldaisle", {count!r}.encode(), headers)
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""
    store = running.containers["store"]

    def stored() -> bool:
        answer = store.within("python", "-c", ask)
        assert answer.returncode == 0, answer.stderr
        return any(int(number) > 0 for number in re.findall(r",(\d+)\s*$", answer.stdout, re.MULTILINE))

    eventually(stored, "samples of this machine are in InfluxDB", store.words)


def test_the_page_asks_for_its_token_and_shows_the_machine(running: House) -> None:
    token = (running.secrets / "page-token").read_text().strip()
    assert page(running, "/api/v1/incidents")[0] == 401
    assert page(running, "/api/v1/incidents", f"Authorization: Bearer {token}")[0] == 200


def test_no_role_needs_more_than_half_of_its_memory_to_start(running: House) -> None:
    unit = {"m": 1 << 20, "g": 1 << 30}
    for role in LONG_RUNNING:
        limit = running.services[role]["deploy"]["resources"]["limits"]["memory"]
        allowed_bytes = int(limit[:-1]) * unit[limit[-1]]
        held_bytes = running.containers[role].resident_bytes()
        assert held_bytes < allowed_bytes / 2, f"{role} holds {held_bytes >> 20} MiB of {limit}"


def test_every_role_stops_in_order_within_its_grace(running: House) -> None:
    with ThreadPoolExecutor() as pool:
        codes = pool.map(Container.stop, [running.containers[role] for role in LONG_RUNNING])
    assert dict(zip(LONG_RUNNING, codes, strict=True)) == dict.fromkeys(LONG_RUNNING, 0)


def test_no_secret_has_been_said_by_anybody(running: House) -> None:
    said = "".join(container.words() for container in running.containers.values())
    assert said
    for path in running.secrets.iterdir():
        assert path.read_text().strip() not in said, path.name
