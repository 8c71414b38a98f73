"""docs/deploying.md: what it tells people to type and to open is there."""

from __future__ import annotations

import re

from cli.health_port import PORTS
from coldaisle.bus import FRAMES
from coldaisle.bus.kafka_settings import KafkaConfig
from dashboard.settings import ServeConfig
from tests.deployed import ROOT, documents

TEXT = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_file_that_it_tells_people_to_use_exists() -> None:
    named = {word for block in BLOCKS for word in re.findall(r"\b(?:deploy|requirements)/[\w./*-]+", block)}
    assert len(named) > 10
    made = {"deploy/compose/secrets/page-token"}
    assert made <= named
    assert [word for word in named - made if not any(ROOT.glob(word))] == []


def test_its_ports_and_numbers_are_the_programmes_own() -> None:
    for role, port in PORTS.items():
        assert re.search(rf"^\| `{role}` \| {port}\b", TEXT, re.MULTILINE), role
    assert f"pages {ServeConfig().port}" in TEXT
    kafka = KafkaConfig()
    assert f"`bus.kafka.topics.frames.partitions` ({kafka.topics[FRAMES].partitions} unless changed)" in TEXT
    assert f"as far back as Kafka keeps it ({kafka.topics[FRAMES].retention_hours:g} h)" in TEXT


def test_every_object_of_the_kubernetes_example_is_applied() -> None:
    applied = set(re.findall(r"deploy/kubernetes/([\w.-]+\.yaml)", "".join(BLOCKS)))
    there = {path.name for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")}
    assert there - applied == {"secret.example.yaml"}  # to be made by people, with secrets in it
    secrets = documents(ROOT / "deploy" / "kubernetes" / "secret.example.yaml")
    assert len(secrets[0]["stringData"]) == 5
    assert "the five files named in secret.example.yaml" in TEXT
