"""No secret of a configuration is ever shown: a canary stands in each secret key, and nothing that is said holds it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from cli.settings import collectors, read, secrets_of
from coldaisle.errors import ConfigError
from coldaisle.redaction import Redaction
from tests.cli.canaries import SOURCES, Planted, Source, canary, every_secret_key, mark, plant
from tests.cli.one_rule import one_rule
from tests.integration.programme import coldaisle


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


@pytest.fixture(params=SOURCES)
def planted(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    source: Source = request.param
    found = plant(tmp_path, source)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    seen = capsys.readouterr()
    return code, seen.out + seen.err


def test_every_secret_key_is_found() -> None:
    known = {
        ("serve", "token"), ("storage", "incidents_password"), ("storage", "influx", "token"),
        ("bus", "kafka", "password"), ("receiver", "*", "secret"), ("receiver", "*", "previous_secrets", "*"),
        ("collector", "prometheus", "bearer_token"),
    }  # fmt: skip
    assert known <= set(every_secret_key())


def test_every_canary_arrives_is_known_as_a_secret_and_prints_as_stars(planted: Planted) -> None:
    settings = read(planted.path)
    assert set(planted.canaries) == set(every_secret_key())
    assert set(secrets_of(settings)) == set(planted.canaries.values())
    configured = collectors(settings, "here")
    shown = f"{settings!r} {settings} {configured!r} {settings.collectors!r}"
    assert planted.leaks(shown) == []


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_checking_shows_none(tmp_path: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    planted = plant(tmp_path, "file")
    planted.path.write_text(f"rules = {json.dumps(str(one_rule(tmp_path / 'rules')))}\n{planted.path.read_text()}")
    code, shown = said(capsys, "--verbose", "check-config", *more, planted.path)
    assert code == 0, shown
    assert planted.leaks(shown) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("source", "more"),
    [("value", ()), ("variable", ("--json",)), ("file", ("--fix",)), ("override", ("--json", "--fix"))],
)
def test_looking_for_servers_that_are_away_shows_none(tmp_path: Path, source: Source, more: tuple[str, ...]) -> None:
    planted = plant(tmp_path, source)
    # A process of its own: Kafka's client lets go of a refused socket when it is collected.
    done = coldaisle("--verbose", "doctor", "--config", planted.path, *more, cwd=tmp_path, env=planted.environment)
    assert done.code == 1, done.err
    for part in ("kafka", "influxdb", "incident store", "collector prometheus", "receiver oncall"):
        assert part in done.out.lower(), done.out
    assert planted.leaks(done.out + done.err) == []


WRONG = (
    ("log", {"levle": "info"}),
    ("serve", {"token": 7}),
    ("serve", {"host": "0.0.0.0", "port": "many"}),
    ("storage", {"metrics": "clay"}),
    ("storage.influx", {"url": "localhost"}),
    ("bus.kafka", {"security": "plaintext"}),
    ("bus.kafka", {"topics": 3}),
    ("receiver.0", {"secret_file": "x"}),
    ("receiver.0", {"name": "Not A Name"}),
    ("receiver.0", {"severities": "all"}),
    ("collector.0", {"url": "nowhere"}),
    ("collector.0", {"bearer": "none"}),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong[0]}.{next(iter(wrong[1]))}")
@pytest.mark.parametrize("command", ["doctor", "run", "up"])
def test_a_mistake_beside_secrets_shows_none(
    tmp_path: Path, wrong: tuple[str, dict[str, object]], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = plant(tmp_path, "value", {wrong[0]: wrong[1]})
    if wrong == ("serve", {"token": 7}):
        planted.path.write_text(planted.path.read_text().replace(json.dumps(canary(("serve", "token"))), "7"))
    option = ("store", "--config") if command == "run" else ("--config",)
    code, shown = said(capsys, command, *option, planted.path)
    assert code == 2, shown
    assert "Traceback" not in shown
    assert planted.leaks(shown) == []


def mistake(path: Path) -> str:
    """Return what is said of a configuration that is refused."""
    with pytest.raises(ConfigError) as caught:
        collectors(read(path), str(path))
    return str(caught.value)


def test_a_secret_of_the_wrong_kind_is_not_told(tmp_path: Path) -> None:
    for path in every_secret_key():
        planted = plant(tmp_path, "value")
        secret = json.dumps(canary(path), ensure_ascii=False)
        text = planted.path.read_text()
        assert secret in text
        for wrong in (f"[[{secret}]]", f"{{a = {secret}}}", secret[:-1], secret.replace('"', "", 1)):
            planted.path.write_text(text.replace(secret, wrong))
            assert planted.leaks(mistake(planted.path)) == [], (path, wrong)


def test_an_address_with_a_password_in_it_is_refused_without_being_told(tmp_path: Path) -> None:
    secret = mark(("address",))
    for section, url in (
        ("storage", f"postgresql://cold:{secret}@db/cold"),
        ("storage", f"postgresql://cold@db/cold?password={secret}"),
        ("storage", f"postgresql://cold@db/cold?sslmode=require&sslpassword={secret}"),
        ("storage.influx", f"http://cold:{secret}@influx:8086"),
        ("receiver.0", f"https://cold:pass/{secret}@host/hook"),
        ("receiver.0", f"https://host:{secret}/hook"),
        ("collector.0", f"cold:{secret}@host:9100/metrics"),
    ):
        key = "incidents" if section == "storage" else "url"
        planted = plant(tmp_path, "value", {section: {key: url}})
        shown = mistake(planted.path)
        assert secret not in shown, shown
        assert section.partition(".")[0] in shown


@pytest.mark.parametrize("secret", ['a "quoted"\\ one', "a line\nand another\t", "grüße €", "100% /@:?#&+"])
def test_a_secret_between_escapes_is_hidden_too(secret: str) -> None:
    from urllib.parse import quote, quote_plus

    hide = Redaction((secret,))
    for written in (
        secret, repr(secret), repr(secret.encode()), json.dumps(secret), json.dumps(secret, ensure_ascii=False),
        quote(secret), quote(secret, safe=""), quote_plus(secret),
    ):  # fmt: skip
        shown = hide(f"before {written} after")
        assert shown.startswith("before ")
        assert shown.endswith(" after")
        assert shown.strip("'\"b") != f"before {written} after"
        assert len(shown) <= len("before b'**********' after"), shown


def test_a_password_that_is_no_text_is_told_by_its_key_alone(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[serve]\ntoken = 1234567890123456\n")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "c.toml")
    assert "serve.token" in str(caught.value)
    assert "1234567890123456" not in str(caught.value)
