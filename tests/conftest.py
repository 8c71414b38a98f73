"""Servers that tests of several folders share; each is started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.influx_server import InfluxProcess


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxProcess]:
    """One InfluxDB for a whole run, for tests of the group ``influxdb`` that do not stop it."""
    with InfluxProcess(tmp_path_factory.mktemp("influxdb")) as server:
        yield server
