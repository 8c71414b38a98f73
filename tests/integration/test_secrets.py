"""No process tells a secret: not while its servers are away, nor when a server says our own words back to us."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.cli.canaries import Planted, Source, mark, plant
from tests.integration.programme import Running, coldaisle, launched, running, until

pytestmark = pytest.mark.integration

ROLES = ("collect", "store", "score", "alert", "serve")


@contextmanager
def echo(status: int) -> Iterator[str]:
    """A server that answers everything with ``status`` and what it was sent; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = json.dumps({"code": "unauthorized", "message": f"refused: {self.headers.items()} {self.path}"})
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status, said.replace("\n", " ") if status == 500 else None)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        do_POST = do_PATCH = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def pages_of_health(address: str) -> str:
    """Everything that a role's own port answers."""
    found = [httpx.get(address + path, timeout=10, trust_env=False) for path in ("/healthz", "/readyz", "/metrics")]
    return "\n".join(f"{one.headers} {one.text}" for one in found)


@pytest.mark.parametrize(("form", "source"), [("text", "variable"), ("json", "file")])
def test_roles_that_wait_for_their_servers_tell_none(form: str, source: Source, tmp_path: Path) -> None:
    planted = plant(tmp_path, source, {"log": {"format": form, "level": "debug"}})
    with ExitStack() as stack:
        roles = {
            role: stack.enter_context(
                launched("--verbose", "run", role, "--config", planted.path, cwd=tmp_path, env=planted.environment)
            )
            for role in ROLES
        }
        for name, role in roles.items():
            until(lambda role=role: "127.0.0.1:1" in role.err and "answers at http://" in role.err, 40)
            address = "http://" + role.err.partition("answers at http://")[2].split()[0].strip('",}')
            shown = pages_of_health(address)
            assert planted.leaks(shown) == [], name
        for name, role in roles.items():
            assert role.terminate() == 0, (name, role.err)
            assert planted.leaks(role.out + role.err) == [], name
            if form == "json":
                assert all(json.loads(line) for line in role.err.splitlines())


def test_asking_for_dead_letters_and_incidents_tells_none(tmp_path: Path) -> None:
    planted = plant(tmp_path, "value")
    for words in (("deadletters", "list"), ("incidents", "list")):
        done = coldaisle("--verbose", *words, "--config", planted.path, cwd=tmp_path)
        assert done.code == 1, done.err
        assert planted.leaks(done.out + done.err) == []


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_says_our_words_back_tells_none(status: int, tmp_path: Path) -> None:
    with echo(status) as address:
        planted = plant(tmp_path, "value", {"storage.influx": {"url": address}, "collector.0": {"url": address}})
        done = coldaisle("--verbose", "doctor", "--config", planted.path, cwd=tmp_path)
        assert done.code == 1, done.err
        assert "influxdb" in done.out.lower()
        assert planted.leaks(done.out + done.err) == []


def test_a_token_that_no_header_can_carry_is_not_told(tmp_path: Path) -> None:
    planted = plant(tmp_path, "value", {"bus": {"kind": "memory"}, "storage": {"metrics": "parquet", "incidents": ""}})
    text = planted.path.read_text()
    bearer = mark(("collector", "prometheus", "bearer_token"))
    planted.path.write_text(text.replace(bearer, f"{bearer}\\nX-More: {bearer}"))
    shown = whole_house(planted, tmp_path)
    assert planted.leaks(shown) == []


@pytest.mark.parametrize(("form", "status"), [("text", 401), ("json", 500)])
def test_the_whole_house_tells_none(form: str, status: int, tmp_path: Path) -> None:
    with echo(status) as address:
        more = {
            "bus": {"kind": "memory"},
            "storage": {"metrics": "parquet", "incidents": ""},
            "log": {"format": form, "level": "debug"},
            "collector.0": {"url": address},
            "receiver.0": {"url": f"{address}/hook"},
        }
        planted = plant(tmp_path, "value", more)
        assert planted.leaks(whole_house(planted, tmp_path)) == []


def whole_house(planted: Planted, folder: Path) -> str:
    """Return all that ``up`` says, in its log and at every address of its API and pages."""
    with running("--verbose", "up", "--config", planted.path, cwd=folder, env=planted.environment) as house:
        until(lambda: "prometheus" in house.err, 30)
        said = answers(house, planted)
        assert house.terminate() == 0, house.err
        return said + house.out + house.err


def answers(house: Running, planted: Planted) -> str:
    """Return what every address that takes no more than a GET answers, with and without the token."""
    token = planted.canaries[("serve", "token")]
    known = {"authorization": f"Bearer {token}"}
    said = []
    with httpx.Client(base_url=house.address, timeout=20, trust_env=False) as web:
        paths = ["/", "/login", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/_dash-layout", "/nowhere"]
        openapi = web.get("/api/v1/openapi.json", headers=known)
        assert openapi.status_code == 200, openapi.text
        paths += [path for path, ways in openapi.json()["paths"].items() if "get" in ways and "{" not in path]
        for path in paths:
            for headers in ({}, known):
                answer = web.get(path, headers=headers)
                said.append(f"{path} {answer.status_code} {answer.headers} {answer.text}")
        for given in (token, token[1:]):
            answer = web.post("/login", data={"token": given}, headers={"origin": house.address})
            said.append(f"{answer.status_code} {answer.headers} {answer.text}")
    assert len(paths) > 12, paths
    return "\n".join(said)
