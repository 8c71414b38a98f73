from __future__ import annotations

import math
import re

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coldaisle.event import Event
from coldaisle.line_protocol import decode_lines
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels, labels_of
from coldaisle.store.influx_flux import quoted
from coldaisle.store.influx_lines import Heads, decode, encode, encode_name, event_line

AWKWARD = st.text(st.sampled_from("a%05CF,= \\\"'\n\r\t\x00#_Zü€🔥"), max_size=8)
STEADY = settings(derandomize=True, max_examples=300, deadline=None)


def lines(series: list[Series], values: list[float]) -> bytes:
    count = len(values)
    return Heads().lines(series, np.arange(count) % len(series), np.arange(count) + 5, np.array(values))


@STEADY
@given(AWKWARD)
@example("")
@example("%")
@example("%25")
@example("50%")
@example("%4\\")
@example("%%0A\n")
def test_any_text_comes_back_and_needs_no_escape_that_influxdb_lacks(text: str) -> None:
    for encoded in (encode(text), encode_name(text)):
        assert decode(encoded) == text
        assert encoded
        assert not re.search(r"[\x00-\x1f\x7f\\]", encoded)
    assert not encode_name(text).startswith(("_", "#"))


@STEADY
@given(st.lists(AWKWARD, min_size=2, max_size=8, unique=True))
def test_different_texts_stay_different(texts: list[str]) -> None:
    assert len({encode(text) for text in texts}) == len(texts)
    assert len({encode_name(text) for text in texts}) == len(texts)


@STEADY
@given(st.floats(allow_nan=False, allow_infinity=False))
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
def test_a_value_is_written_so_that_it_reads_back_exactly(value: float) -> None:
    text = lines([Series("m_watts", ())], [value]).decode()
    assert text.startswith("m_watts value=")
    assert math.copysign(1.0, float(text.split("=")[1].split()[0])) == math.copysign(1.0, value)
    assert float(text.split("=")[1].split()[0]) == value


def test_lines_are_those_that_telegraf_would_send() -> None:
    text = lines([Series("m_watts", labels(node="n 1", gpu="a,b=c"))], [1.5, 2.0])
    assert text == b"m_watts,gpu=a\\,b\\=c,node=n\\ 1 value=1.5 5\nm_watts,gpu=a\\,b\\=c,node=n\\ 1 value=2 6\n"
    (first, second) = decode_lines(text, "telegraf", SelfStats())
    assert first.layout.series[0] == Series("m_watts_value", labels(node="n 1", gpu="a,b=c"))
    assert (first.values.tolist(), second.values.tolist()) == ([1.5], [2.0])


def test_what_could_not_be_read_is_a_field_of_its_own() -> None:
    assert lines([Series("a", ()), Series("b", ())], [float("nan"), 1.0]) == b"b value=1 6\na unread=1 5\n"
    assert lines([Series("a", ())], [float("nan")]) == b"a unread=1 5\n"


def test_series_met_later_are_written_as_well_as_the_first() -> None:
    heads = Heads()
    series = [Series("a", ())]
    one, value = np.array([5]), np.array([1.0])
    assert heads.lines(series, np.array([0]), one, value) == b"a value=1 5\n"
    series.append(Series("b", labels(x="y")))
    assert heads.lines(series, np.array([1]), one, value) == b"b,x=y value=1 5\n"


def test_names_that_influxdb_keeps_for_itself_are_given_to_no_label() -> None:
    text = lines([Series("_m", labels_of([("time", "1"), ("_field", "2"), ("kind", "3")]))], [1.0])
    assert text == b"%5Fm,%5Ffield=2,%6Bind=3,%74ime=1 value=1 5\n"


def test_an_event_is_one_line_whatever_its_text() -> None:
    event = Event("xid", "79", 7, labels(node="n1"), 'a "b"\nc\\', {"k": 'v"\n'})
    assert event_line(event) == (
        b'event,kind=xid,code=79,node=n1 text="a \\"b\\"%0Ac%5C",attributes="{\\"k\\":\\"v%5C\\"%5Cn\\"}" 7\n'
    )


def test_text_in_flux_cannot_end_its_string_or_begin_an_expression() -> None:
    assert quoted('a"b\\c\n${r}') == '"a\\"b\\\\c\\n\\x24{r}"'
