from __future__ import annotations

import logging
import socket

import pytest

from coldaisle.clock import SECOND, ManualClock
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.influx_delivery import Delivery
from coldaisle.store.influx_server import InfluxServer, zipped
from tests.store.influx_stand_in import TOKEN, Refusal, Rule, StandIn

NOW = 1_763_780_400 * SECOND
LINES = [b"m_watts,n=%d value=1 %d" % (number, number) for number in range(100)]
BODY = b"".join(line + b"\n" for line in LINES)


def refuses(*bad: bytes, status: int = 400, message: str = "unable to parse") -> Rule:
    return lambda lines: Refusal(status, message) if set(bad) & set(lines) else None


def delivery(
    stand_in: StandIn, told: list[tuple[bytes, str]] | None = None, stats: SelfStats | None = None
) -> Delivery:
    server = InfluxServer(stand_in.config(), ManualClock(NOW))
    reject = None if told is None else lambda line, reason: told.append((line, reason))
    return Delivery(server, stats or SelfStats(), reject)


@pytest.mark.parametrize("bad", [(0,), (99,), (13, 14), (0, 50, 99)])
def test_a_bad_line_is_found_and_handed_over_and_all_others_arrive(
    bad: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[bytes, str]] = []
    stats = SelfStats()
    wrong = [LINES[number] for number in bad]
    with StandIn(refuses(*wrong)) as stand_in, caplog.at_level(logging.WARNING):
        delivery(stand_in, told, stats).send("coldaisle", BODY)
        assert stand_in.taken["coldaisle"] == set(LINES) - set(wrong)
        assert stand_in.requests <= 1 + 2 * 7 * len(bad)
    assert sorted(told) == sorted((line, "unable to parse") for line in wrong)
    assert stats.get("store_lines_dropped_total", reason="refused") == len(bad)
    assert "m_watts" in caplog.text


def test_a_batch_that_is_wholly_refused_costs_one_request(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[bytes, str]] = []
    message = 'partial write: field type conflict: input field "value" is type float dropped=100'
    with StandIn(lambda _: Refusal(422, message)) as stand_in, caplog.at_level(logging.WARNING):
        delivery(stand_in, told).send("coldaisle", BODY)
        assert stand_in.requests == 1
    assert len(told) == 100


@pytest.mark.parametrize(
    "message",
    [
        "partial write: points beyond retention policy dropped=3",
        "partial write: dropped 3 points outside retention policy of duration 168h0m0s - oldest point m_watts at 1970",
    ],
)
def test_lines_older_than_the_bucket_keeps_are_counted_and_nobody_is_bothered(message: str) -> None:
    told: list[tuple[bytes, str]] = []
    stats = SelfStats()
    with StandIn(lambda _: Refusal(422, message)) as stand_in:
        delivery(stand_in, told, stats).send("coldaisle", BODY)
        assert stand_in.requests == 1
    assert told == []
    assert stats.get("store_lines_dropped_total", reason="older than the bucket keeps") == 3


def test_a_batch_that_is_too_large_goes_in_halves() -> None:
    with StandIn(lambda lines: Refusal(413, "too large") if len(lines) > 30 else None) as stand_in:
        delivery(stand_in).send_zipped("coldaisle", zipped(BODY))
        assert stand_in.taken["coldaisle"] == set(LINES)
        assert stand_in.encodings == {"gzip"}


def test_a_single_line_that_is_too_large_is_handed_over(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[bytes, str]] = []
    with StandIn(refuses(LINES[7], status=413, message="too large")) as stand_in, caplog.at_level(logging.WARNING):
        delivery(stand_in, told).send("coldaisle", BODY)
        assert len(stand_in.taken["coldaisle"]) == 99
    assert told == [(LINES[7], "too large")]


def test_a_server_that_goes_away_in_the_midst_of_the_search_tells_nobody_anything_yet() -> None:
    told: list[tuple[bytes, str]] = []
    with StandIn() as stand_in:
        stand_in.rule = lambda lines: Refusal(400, "bad") if len(lines) > 20 else Refusal(500, "restarting")
        with pytest.raises(Transient, match="500"):
            delivery(stand_in, told).send("coldaisle", BODY)
    assert told == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((("Retry-After", "7"),), 7.0),
        ((("Retry-After", "Sat, 22 Nov 2025 03:00:09 GMT"),), 9.0),
        ((("Retry-After", "soon"),), 5.0),
        ((("Retry-After", "86400"),), 300.0),
        ((), 5.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_given_the_time_that_it_asks_for(
    status: int, headers: tuple[tuple[str, str], ...], seconds: float
) -> None:
    with (
        StandIn(lambda _: Refusal(status, "busy", headers)) as stand_in,
        pytest.raises(Backpressure, match="asks to wait: busy") as caught,
    ):
        delivery(stand_in).send("coldaisle", BODY)
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, ConfigError, "the token is unknown; make one"),
        (403, ConfigError, "give it read and write permission"),
        (404, ConfigError, "no bucket coldaisle in organisation hall; `coldaisle doctor --fix`"),
        (500, Transient, "answered 500"),
        (502, Transient, "answered 502"),
        (418, Permanent, "answered 418"),
    ],
)
def test_other_answers_say_what_to_do_and_never_the_token(
    status: int, kind: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        StandIn(lambda _: Refusal(status, "as it says")) as stand_in,
        caplog.at_level(logging.DEBUG),
        pytest.raises(kind, match=words) as caught,
    ):
        delivery(stand_in).send("coldaisle", BODY)
    assert type(caught.value) is kind
    assert TOKEN not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__} {caplog.text}"
    assert TOKEN not in repr(stand_in.config())


def test_a_server_that_is_not_there_is_away() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with StandIn() as stand_in:
        server = InfluxServer(stand_in.config(url=f"http://127.0.0.1:{port}"))
        with pytest.raises(Transient, match="InfluxDB is away"):
            server.write("coldaisle", BODY, zipped=False)


def test_lines_go_unzipped_where_gzip_is_off() -> None:
    with StandIn() as stand_in:
        sender = Delivery(InfluxServer(stand_in.config(gzip=False)), SelfStats())
        sender.send("coldaisle", BODY)
        sender.send_zipped("other", zipped(BODY))
        assert stand_in.encodings == {"identity"}
        assert stand_in.taken == {"coldaisle": set(LINES), "other": set(LINES)}
