"""What every notifier must do with each answer of its receiver."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.store import Notification
from pipeline.alerting.notifiers import Notifier
from pipeline.alerting.notifiers.webhook import WebhookConfig, WebhookNotifier

NOON = 1_790_000_000 * SECOND
OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
Answer = Callable[[httpx.Request], httpx.Response]


def webhook(answer: Answer) -> Notifier:
    config = WebhookConfig(url="https://receiver.example/hook/token-in-path", secret=SecretStr(NEW))
    return WebhookNotifier(config, ManualClock(NOON), httpx.MockTransport(answer))


NOTIFIERS = {"webhook": webhook}


@pytest.fixture(params=sorted(NOTIFIERS))
def notifier(request: pytest.FixtureRequest) -> Callable[[Answer], Notifier]:
    return NOTIFIERS[request.param]


def notification() -> Notification:
    return Notification("msg_1", "inc-1", "oncall", "opened", json.dumps({"type": "incident.opened", "°": 1}), NOON)


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (200, {}, None),
        (202, {}, None),
        (204, {}, None),
        (301, {"Location": "https://elsewhere.example"}, Permanent),
        (307, {"Location": "https://elsewhere.example"}, Permanent),
        (400, {}, Permanent),
        (401, {}, Permanent),
        (404, {}, Permanent),
        (408, {}, Transient),
        (410, {}, Permanent),
        (425, {}, Transient),
        (429, {}, Backpressure),
        (429, {"Retry-After": "7"}, Backpressure),
        (500, {}, Transient),
        (502, {}, Transient),
        (503, {}, Transient),
        (503, {"Retry-After": "7"}, Backpressure),
        (504, {}, Transient),
    ],
)
def test_each_answer_has_its_consequence(
    notifier: Callable[[Answer], Notifier], status: int, headers: dict[str, str], error: type[Exception] | None
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers=headers)

    if error is None:
        notifier(answer).send(notification())
    else:
        with pytest.raises(error, match=str(status)) as caught:
            notifier(answer).send(notification())
        assert caught.type is error
        assert "token-in-path" not in str(caught.value)
    assert len(seen) == 1


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_receiver_that_is_away_is_tried_later(
    notifier: Callable[[Answer], Notifier], failure: type[httpx.TransportError]
) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise failure("no luck")

    with pytest.raises(Transient, match=r"receiver\.example"):
        notifier(answer).send(notification())


def test_closing_twice_is_harmless(notifier: Callable[[Answer], Notifier]) -> None:
    one = notifier(lambda _request: httpx.Response(200))
    one.close()
    one.close()
    with pytest.raises(RuntimeError):
        one.send(notification())


# The webhook's own


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 5 ", 5.0),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2026 14:00:00 GMT", 0.0),  # in the past
        ("99999999", 3600.0),
        ("soon", 30.0),
        ("-5", 30.0),
        ("", 30.0),
    ],
)
def test_retry_after_is_understood_as_seconds_and_as_a_date(text: str, seconds: float) -> None:
    with pytest.raises(Backpressure) as caught:
        webhook(lambda _request: httpx.Response(429, headers={"Retry-After": text})).send(notification())
    assert caught.value.retry_after_seconds == pytest.approx(seconds)


def sent(config: WebhookConfig, now: int) -> httpx.Request:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(204)

    WebhookNotifier(config, ManualClock(now), httpx.MockTransport(answer)).send(notification())
    return seen[0]


def system_now() -> int:
    return SystemClock().now()  # the reference implementation checks the signature's age against the machine's clock


def test_the_reference_implementation_accepts_the_signature_and_refuses_a_forgery() -> None:
    request = sent(WebhookConfig(url="http://r.example", secret=SecretStr(NEW)), system_now())
    assert request.headers["webhook-id"] == "msg_1"
    body = Webhook(NEW).verify(request.content, dict(request.headers))
    assert body == {"type": "incident.opened", "°": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(request.content + b" ", dict(request.headers))


def test_while_a_secret_changes_both_verify() -> None:
    config = WebhookConfig(url="http://r.example", secret=SecretStr(NEW), previous_secrets=(SecretStr(OLD),))
    request = sent(config, system_now())
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(request.content, dict(request.headers))["type"] == "incident.opened"


def test_secrets_may_stand_in_a_file_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{NEW}\n{OLD}\n")
    request = sent(WebhookConfig(url="http://r.example", secret_file=path), system_now())
    assert request.headers["webhook-signature"].count("v1,") == 2
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        sent(WebhookConfig(url="http://r.example", secret_file=path), NOON)


def test_without_a_secret_nothing_is_signed() -> None:
    request = sent(WebhookConfig(url="http://r.example"), NOON)
    assert "webhook-signature" not in request.headers
    assert request.headers["webhook-timestamp"] == str(NOON // SECOND)


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_c2hvcnQ="])
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match="secret") as caught:
        sent(WebhookConfig(url="http://r.example", secret=SecretStr(secret)), NOON)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "receiver.example", "ftp://r.example", "http://", "file:///etc/passwd", "http://[x"]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="is not a"):
        WebhookConfig(url=url)


def test_a_secret_prints_as_stars() -> None:
    assert NEW not in repr(WebhookConfig(url="http://r.example", secret=SecretStr(NEW)))
