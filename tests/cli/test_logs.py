"""What is logged: one line a record, in either form, and no secret in it."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from cli import logs
from cli.logs import LogConfig


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


def said(format: str, secrets: tuple[str, ...] = ()) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(LogConfig.model_validate({"format": format, "level": "info"}), "store", secrets, stream=stream)
    return stream


def test_json_is_one_object_a_line_with_the_error_in_it() -> None:
    stream = said("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("pipeline.roles").exception("it %s", "failed")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert {key: found[key] for key in ("level", "logger", "role", "message")} == {
        "level": "error", "logger": "pipeline.roles", "role": "store", "message": "it failed",
    }  # fmt: skip
    assert found["time"].endswith("Z")
    assert "ValueError: two\nlines" in found["error"]


@pytest.mark.parametrize("format", ["text", "json"])
def test_no_secret_is_logged_whoever_says_it(format: str) -> None:
    secret = 'canary "with" quotes'
    stream = said(format, (secret,))
    try:
        raise ValueError(f"cannot sign in with {secret}")
    except ValueError:
        logging.getLogger("someone.elses").exception("tried %s", secret)
    assert "tried **********" in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_a_thread_that_dies_is_logged() -> None:
    stream = said("json")

    def die() -> None:
        raise RuntimeError("gone")

    thread = threading.Thread(target=die, name="worker-7")
    thread.start()
    thread.join()
    assert "worker-7 died" in stream.getvalue()


def test_what_must_be_seen_is_seen_in_the_form_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    said("json", ("canary",))
    logs.say("started with canary")
    assert json.loads(capsys.readouterr().out)["message"] == "started with **********"
    said("text", ("canary",))
    logs.say("failed with canary", logging.ERROR)
    assert capsys.readouterr().err == "coldaisle: failed with **********\n"
