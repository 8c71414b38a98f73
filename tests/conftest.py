"""Servers that tests of several folders share; each is started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.influx_server import InfluxProcess
from tests.together import pytest_collection_finish, pytest_configure_node, pytest_xdist_make_scheduler

if TYPE_CHECKING:
    from tests.integration.kafka_server import KafkaServer

__all__ = ["pytest_collection_finish", "pytest_configure_node", "pytest_xdist_make_scheduler"]


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxProcess]:
    """One InfluxDB for a whole run, for tests of the group ``influxdb`` that do not stop it."""
    with InfluxProcess(tmp_path_factory.mktemp("influxdb")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One Kafka broker for a whole run, for tests of the group ``kafka`` that do not stop it."""
    from tests.integration.kafka_server import KafkaServer, Unavailable  # half a second that only these tests need

    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    with server:
        yield server
