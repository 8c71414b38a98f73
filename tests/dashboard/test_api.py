"""The API does what a person can do, refuses what it must, and says why."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident
from coldaisle.store import Notification
from coldaisle.store.memory_incidents import MemoryIncidentStore
from dashboard.app import create_app, serve
from dashboard.settings import ServeConfig
from dashboard.source import Backends, Health
from tests.dashboard import hall as example

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette prefers a client that is not among our dependencies
    from starlette.testclient import TestClient

BASE = "http://127.0.0.1:8800"
ID = "9f31c2aa77b04e15"
TOKEN = "a-token-of-some-length"


@pytest.fixture
def backends() -> Backends:
    return example.backends(past_incidents=30)


@pytest.fixture
def client(backends: Backends) -> TestClient:
    return TestClient(create_app(backends, ServeConfig()), base_url=BASE)


@pytest.fixture(scope="module")
def reading() -> TestClient:
    """One application for all tests that change nothing: to build one takes longer than to ask it."""
    return TestClient(create_app(example.backends(past_incidents=30), ServeConfig()), base_url=BASE)


@pytest.fixture(scope="module")
def locked() -> TestClient:
    """One application behind a token, for all who never log in."""
    settings = ServeConfig(host="0.0.0.0", token=SecretStr(TOKEN))
    app = create_app(example.backends(past_incidents=1), settings)
    return TestClient(app, base_url="http://hall.example:8800", follow_redirects=False)


@pytest.fixture
def guarded(backends: Backends) -> TestClient:
    settings = ServeConfig(host="0.0.0.0", token=SecretStr(TOKEN))
    return TestClient(create_app(backends, settings), base_url="http://hall.example:8800", follow_redirects=False)


def test_incidents_are_searched_and_paged(reading: TestClient) -> None:
    found = reading.get("/api/v1/incidents", params={"state": "open,acknowledged"}).json()
    assert found["total"] == 2
    assert {one["id"] for one in found["incidents"]} == {ID, "4b7e02d1c9aa3f60"}
    page = reading.get("/api/v1/incidents", params={"limit": 10, "offset": 30}).json()
    assert len(page["incidents"]) == 2
    assert page["next_offset"] is None
    assert reading.get("/api/v1/incidents", params={"text": "crac-2 flow"}).json()["total"] == 1


def test_an_incident_is_taken_given_back_resolved_and_opened_again(client: TestClient) -> None:
    taken = client.post(f"/api/v1/incidents/{ID}/acknowledge", json={"actor": "jo", "expires_in_seconds": 60}).json()
    assert (taken["state"], taken["acknowledgement"]["actor"]) == ("acknowledged", "jo")
    assert client.post(f"/api/v1/incidents/{ID}/unacknowledge", json={"actor": "jo"}).json()["state"] == "open"
    closed = client.post(
        f"/api/v1/incidents/{ID}/resolve", json={"actor": "jo", "reason": "noise", "note": "a test"}
    ).json()
    assert (closed["state"], closed["resolve_reason"]) == ("resolved", "noise")
    again = client.post(f"/api/v1/incidents/{ID}/acknowledge", json={})
    assert again.status_code == 409
    assert "resolved already" in again.json()["detail"]
    assert client.post(f"/api/v1/incidents/{ID}/reopen", json={}).json()["state"] == "open"
    noted = client.post(f"/api/v1/incidents/{ID}/note", json={"actor": "jo", "note": "pump P2"}).json()
    assert noted["timeline"][-1]["text"] == "pump P2"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/incidents/nothing", 404, "no incident"),
        ("/api/v1/incidents?state=opened", 422, "expected one of open"),
        ("/api/v1/incidents?limit=100000", 422, "limit"),
        ("/api/v1/incidents?start=yesterday", 422, "is no time"),
        ("/api/v1/series?metric=gpu_power_watts&match=node%3D%7E%22%5B%22", 422, "regular expression"),
        ("/api/v1/nowhere", 404, "/api/v1/docs"),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(reading: TestClient, path: str, status: int, words: str) -> None:
    answer = reading.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_the_hall_and_its_series_can_be_asked_for(reading: TestClient) -> None:
    hall = reading.get("/api/v1/hall", params={"metric": "gpu_power_watts"}).json()
    assert len(hall["cells"]) == 1024
    assert hall["healthy"] + 8 + 257 == 1024
    assert {cell["state"] for cell in hall["cells"]} == {"fine", "critical", "warning", "unknown"}
    lines = reading.get(
        "/api/v1/series", params={"metric": "gpu_power_watts", "match": 'node="n001"', "max_points": 50}
    ).json()
    assert len(lines["series"]) == 8
    assert len(lines["series"][1]["values"]) <= 50
    assert reading.get("/api/v1/metrics").json()["metrics"][0]["name"]
    assert reading.get("/api/v1/events").json()["events"][0]["kind"] == "status"


def test_a_silence_is_made_listed_and_ended(client: TestClient) -> None:
    body = {"matchers": 'row="B"', "duration_seconds": 3600, "comment": "pump work", "actor": "jo"}
    made = client.post("/api/v1/silences", json=body)
    assert made.status_code == 201
    identity = made.json()["id"]
    assert [one["id"] for one in client.get("/api/v1/silences").json()["silences"]] == [identity]
    assert client.post(f"/api/v1/silences/{identity}/expire", json={}).status_code == 200
    assert client.get("/api/v1/silences").json()["silences"] == []
    assert client.post(f"/api/v1/silences/{identity}/expire", json={}).status_code == 404


def test_the_frozen_evidence_of_an_incident_can_be_read(reading: TestClient) -> None:
    found = reading.get(f"/api/v1/incidents/{ID}/evidence").json()["evidence"]
    assert {one["entity"] for one in found} >= {"node/n033"}
    assert len(found[0]["window"]["timestamps"]) == len(found[0]["window"]["observed"])


def test_an_incident_is_muted_with_all_that_it_reaches_and_heard_again(client: TestClient) -> None:
    body = {"duration_seconds": 7200, "comment": "pump work", "actor": "jo"}
    made = client.post(f"/api/v1/incidents/{ID}/silence", json=body)
    assert made.status_code == 201
    held = client.get(f"/api/v1/incidents/{ID}/silences").json()["silences"]
    assert held == [made.json()]
    assert client.get("/api/v1/incidents/4b7e02d1c9aa3f60/silences").json()["silences"] == []
    lines = client.get(f"/api/v1/incidents/{ID}").json()["timeline"]
    assert (lines[-1]["actor"], "pump work" in lines[-1]["text"]) == ("jo", True)
    assert client.post(f"/api/v1/silences/{held[0]['id']}/expire", json={}).status_code == 200
    assert client.get(f"/api/v1/incidents/{ID}/silences").json()["silences"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [({"duration_seconds": 60, "comment": " "}, 422), ({"duration_seconds": 0, "comment": "x"}, 422)],
)
def test_a_silence_needs_a_reason_and_an_end(reading: TestClient, body: dict[str, Any], status: int) -> None:
    assert reading.post(f"/api/v1/incidents/{ID}/silence", json=body).status_code == status
    assert reading.post("/api/v1/incidents/nothing/silence", json={**body, "comment": "x"}).status_code in (404, 422)


def test_one_search_finds_entities_and_incidents(reading: TestClient) -> None:
    found = reading.get("/api/v1/search", params={"text": "n033"}).json()
    assert found["entities"][0] == {"entity": "node/n033", "name": "node n033"}
    words = reading.get("/api/v1/search", params={"text": "crac-2 flow"}).json()
    assert [one["id"] for one in words["incidents"]] == [ID]


def test_a_failed_notification_is_seen_and_sent_again(client: TestClient) -> None:
    dead = client.get("/api/v1/notifications", params={"state": "dead"}).json()["notifications"]
    assert [one["id"] for one in dead] == ["msg-2"]
    assert client.post("/api/v1/notifications/msg-2/requeue").json()["requeued"] is True
    assert client.post("/api/v1/notifications/msg-2/requeue").status_code == 404


def test_the_export_is_csv_and_runs_no_formula(client: TestClient, backends: Backends) -> None:
    store = backends.incidents
    store.save(replace(example.past(500), id="ff00", title="=HYPERLINK(1)"))
    lines = client.get("/api/v1/incidents.csv").text.splitlines()
    assert lines[0].startswith("id,severity,state,title")
    assert len(lines) == 1 + 33
    assert any("'=HYPERLINK" in line for line in lines)


def test_health_readiness_and_self_metrics_answer(reading: TestClient) -> None:
    assert reading.get("/healthz").json() == {"status": "ok"}
    assert reading.get("/readyz").json()["status"] == "ready"
    assert 'coldaisle_samples_dropped_total{reason="late"} 1284' in reading.get("/metrics").text
    assert "/api/v1/incidents/{incident_id}/resolve" in reading.get("/api/v1/openapi.json").json()["paths"]
    assert "http://" not in reading.get("/api/v1/docs").text


def test_readiness_says_what_is_missing(backends: Backends) -> None:
    ill = replace(backends, health=lambda: Health(False, ("The store is full: free some space.",)))
    answer = TestClient(create_app(ill, ServeConfig()), base_url=BASE).get("/readyz")
    assert answer.status_code == 503
    assert "free some space" in answer.json()["detail"]


def test_a_change_by_somebody_else_is_tried_again(backends: Backends) -> None:
    class Contested(MemoryIncidentStore):
        refusals = 2

        def save(self, incident: Incident, notifications: Any = ()) -> Incident:
            if self.refusals > 0:
                self.refusals -= 1
                raise Transient("changed by somebody else")
            return super().save(incident, notifications)

    store = Contested()
    MemoryIncidentStore.save(store, example.warming(example.topology()))
    client = TestClient(create_app(replace(backends, incidents=store), ServeConfig()), base_url=BASE)
    assert client.post(f"/api/v1/incidents/{ID}/acknowledge", json={}).status_code == 200
    store.refusals = 99
    assert client.post(f"/api/v1/incidents/{ID}/note", json={"note": "x"}).status_code == 409


def test_what_was_done_is_told_to_receivers_in_the_same_write(backends: Backends) -> None:
    def notify(incident: Incident, kind: str) -> list[Notification]:
        return [Notification(f"{kind}-{incident.id}", incident.id, "on-call", kind, "{}", incident.updated_at)]

    client = TestClient(create_app(replace(backends, notify=notify), ServeConfig()), base_url=BASE)
    client.post(f"/api/v1/incidents/{ID}/acknowledge", json={})
    assert [one.kind for one in backends.incidents.notifications(ID) if one.receiver == "on-call"].count(
        "acknowledged"
    ) == 1


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8800"])
def test_a_foreign_host_name_is_refused_on_loopback(reading: TestClient, host: str) -> None:
    assert reading.get("/api/v1/incidents", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
@pytest.mark.parametrize("path", [f"/api/v1/incidents/{ID}/resolve", "/_dash-update-component"])
def test_a_change_that_another_site_asks_for_is_refused(
    reading: TestClient, headers: dict[str, str], path: str
) -> None:
    assert reading.post(path, json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/incidents",
        "/metrics",
        "/_dash-layout",
        "/_dash-dependencies",
        "/",
        "/incidents/x",
        "/api/v1/openapi.json",
    ],
)
def test_with_a_token_nothing_is_shown_without_it(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 401
    assert locked.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert locked.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert locked.get("/healthz").status_code == 200


def test_callbacks_stand_behind_the_same_door(locked: TestClient) -> None:
    assert locked.post("/_dash-update-component", json={}).status_code == 401


def test_a_person_logs_in_once_and_the_cookie_is_not_the_token(guarded: TestClient) -> None:
    asked = guarded.get("/history?text=x", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login?next=%2Fhistory%3Ftext%3Dx")
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 401
    done = guarded.post(asked.headers["location"], data={"token": TOKEN})
    assert (done.status_code, done.headers["location"]) == (303, "/history?text=x")
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert guarded.get("/api/v1/incidents").status_code == 200


def test_a_session_ends_and_a_forged_one_never_began(backends: Backends, guarded: TestClient) -> None:
    guarded.post("/login", data={"token": TOKEN})
    assert guarded.get("/metrics").status_code == 200
    backends.clock.sleep(13 * 3600)
    assert guarded.get("/metrics").status_code == 401
    guarded.cookies.set("coldaisle_session", f"{backends.clock.now() // SECOND + 999}.{'0' * 64}")
    assert guarded.get("/metrics").status_code == 401


def test_guessing_is_slowed_down(guarded: TestClient) -> None:
    answers = [guarded.post("/login", data={"token": "guess"}).status_code for _ in range(12)]
    assert answers[-1] == 429


def test_log_in_never_leads_elsewhere(guarded: TestClient) -> None:
    done = guarded.post("/login?next=//evil.example", data={"token": TOKEN})
    assert done.headers["location"] == "/"


def test_pages_forbid_everything_from_outside(reading: TestClient) -> None:
    policy = reading.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    document = reading.get("/").text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", document)
    assert '"mcp"' not in document


def test_listening_beyond_this_machine_needs_a_token() -> None:
    with pytest.raises(ValidationError, match="needs a token"):
        ServeConfig(host="0.0.0.0")
    assert ServeConfig(host="::1").loopback


@pytest.fixture
def port(reading: TestClient) -> Iterator[int]:
    with serve(reading.app, "127.0.0.1", 0) as url:
        yield int(url.rsplit(":", 1)[1])


def test_a_port_in_use_is_one_sentence_with_the_remedy(port: int, reading: TestClient) -> None:
    taken = pytest.raises(ConfigError, match=f"port {port} is in use; choose another with --port")
    with taken, serve(reading.app, "127.0.0.1", port):
        pass
