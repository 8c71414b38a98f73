from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.errors import Permanent
from coldaisle.line_protocol import decode_lines
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels

TELEGRAF = b"""\
cpu,cpu=cpu0,host=n1 usage_idle=97.5,usage_user=2i 1763780400000000000
nvidia_smi,host=n1,uuid=GPU-a temperature_gpu=61i,power_draw=301.5,name="H100 \\"SXM\\", 80 GB" 1763780400000000001
net,host=n2,interface=eth0 up=t,bytes_recv=18446744073709551615u 1763780400000000000
"""


def test_telegraf_becomes_a_frame_for_each_node() -> None:
    stats = SelfStats()
    one, two = decode_lines(TELEGRAF, "telegraf", stats)
    assert (one.collector, one.node, two.node) == ("telegraf", "n1", "n2")
    assert [sample.value for sample in one.samples()] == [97.5, 2.0, 61.0, 301.5]
    assert one.layout.series[0] == Series("cpu_usage_idle", labels(cpu="cpu0", node="n1"))
    assert one.timestamps.tolist()[-1] == 1763780400000000001
    assert two.values.tolist() == [1.0, 18446744073709551615.0]
    assert stats.get("line_protocol_fields_dropped_total", collector="telegraf", reason="text") == 1


def test_escapes_comments_and_blank_lines_are_understood() -> None:
    text = b'# a comment\n\n  \nm\\ x\\,y,node=a\\ b,k\\=1=v\\,w f\\ 1=1,t="a\nb" 5\r\nm,node=c f=-1.5e3 -6'
    first, second = decode_lines(text, "c")
    assert first.layout.series == (Series("m x,y_f 1", (("k=1", "v,w"), ("node", "a b"))),)
    assert second.samples()[0].value == -1500.0
    assert second.timestamps.tolist() == [-6]


def test_a_node_tag_wins_over_the_host() -> None:
    (frame,) = decode_lines(b"m,host=h,node=n f=1 5", "c")
    assert frame.node == "n"
    assert frame.layout.series[0].labels == (("host", "h"), ("node", "n"))


def test_the_later_of_two_samples_at_one_time_wins_and_each_frame_holds_a_series_once() -> None:
    frames = decode_lines(b"m,node=n f=1 5\nm,node=n f=2 5\nm,node=n f=3 6", "c")
    assert [frame.values.tolist() for frame in frames] == [[2.0], [3.0]]
    assert frames[0].layout == frames[1].layout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("m,node=n f=1", "line 1: lacks a timestamp"),
        ("m f=1 5", "neither a tag node nor a tag host"),
        ("m,node=n 5", "expected field=value"),
        ("m,node=n f=x 5", "field value 'x'"),
        ("m,node=n f=nan 5", "field value 'nan'"),
        ("m,node=n f=1_0 5", "field value '1_0'"),
        ("m,node= f=1 5", "expected a tag or a space"),
        ("m,node=n,node=o f=1 5", "'node' is given twice"),
        ('m,node=n f="x 5', "line 1"),
        ("m,node=n f=1 5 6", "expected the end of the line at ' 6'"),
        ("m,node=n f=1 99999999999999999999", "64 bits"),
        ("ok,node=n f=1 5\n,node=n f=1 5", "line 2: lacks a measurement"),
    ],
)
def test_a_malformed_line_names_itself_and_its_fault(text: str, reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        decode_lines(text.encode(), "c")


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(Permanent, match="UTF-8 at byte 2"):
        decode_lines(b"m,\xff", "c")


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(0, len(TELEGRAF) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_changed_lines_are_read_or_refused_never_worse(position: int, put: bytes, gone: int) -> None:
    changed = TELEGRAF[:position] + put + TELEGRAF[position + gone :]
    try:
        frames = decode_lines(changed, "c")
    except Permanent:
        return  # refused; any other error fails the test
    assert all(not math.isnan(value) for frame in frames for value in frame.values.tolist())
