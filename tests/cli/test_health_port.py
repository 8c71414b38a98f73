"""The small port of a role, asked over real HTTP."""

from __future__ import annotations

import logging
import threading

import httpx
import pytest

from cli import logs
from cli.health_port import Readiness, health_port
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats


def test_a_role_says_that_it_lives_what_it_lacks_and_what_it_counts() -> None:
    readiness, stats = Readiness("score"), SelfStats()
    stats.add("samples_total", 3)
    with (
        health_port("127.0.0.1", 0, readiness, stats) as address,
        httpx.Client(base_url=address, trust_env=False) as web,
    ):
        assert web.get("/healthz").json() == {"status": "ok", "role": "score"}
        readiness.has("start")
        readiness.lacks("kafka", "nothing answers there")
        answer = web.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing"] == [{"part": "kafka", "reason": "nothing answers there"}]
        readiness.has("kafka")
        assert web.get("/readyz").status_code == 200
        assert web.head("/readyz").text == ""
        assert "samples_total 3" in web.get("/metrics").text
        assert web.get("/etc/passwd").status_code == 404
        assert web.post("/healthz").status_code == 501


def test_a_port_that_is_taken_is_named() -> None:
    with health_port("127.0.0.1", 0, Readiness("store"), SelfStats()) as address:
        port = int(address.rpartition(":")[2])
        with (
            pytest.raises(ConfigError, match=f"port {port} is in use"),
            health_port("127.0.0.1", port, Readiness("store"), SelfStats()),
        ):
            pass


def test_a_reason_that_holds_a_secret_is_shown_without_it() -> None:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    try:
        logs.configure(logs.LogConfig(), "store", ("canary-7f3a",))
        readiness = Readiness("store")
        readiness.lacks("influxdb", "answered 500: Authorization: Token canary-7f3a")
        assert readiness.document()["missing"][0]["reason"] == "answered 500: Authorization: Token **********"
    finally:
        root.handlers[:], threading.excepthook = handlers, hook
        root.setLevel(level)
