"""The file of a snapshot: read back to the bit, or refused with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from coldaisle.bus import Partition
from coldaisle.errors import Permanent
from coldaisle.snapshot import Snapshot, collect_state, restore_state
from coldaisle.state import Kept, State, nested

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
DTYPES = ["?", "i1", "u1", "<i4", "<u4", "<i8", "<f4", "<f8", ">f8"]
ARRAYS: st.SearchStrategy[Any] = arrays.arrays(
    st.sampled_from([np.dtype(each) for each in DTYPES]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
STATES = st.dictionaries(st.text(), ARRAYS | JSON, max_size=4)


def snapshot(**parts: State) -> Snapshot:
    return Snapshot(
        "watch", 3, 1_800_000_000_123_456_789, {Partition("frames", 2): 17, Partition("events", 0): 0}, parts
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        alike = one.dtype.newbyteorder("=") == other.dtype and one.shape == other.shape
        return bool(alike and one.astype(other.dtype).tobytes() == other.tobytes())
    return type(one) is type(other) and bool(one == other)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), STATES, max_size=3))
def test_what_was_written_is_read_back_to_the_bit(parts: dict[str, dict[str, Any]]) -> None:
    made = snapshot(**parts)
    read = Snapshot.from_bytes(made.to_bytes(), "watch", 3)
    assert (read.kind, read.version, read.made_at, read.offsets) == (made.kind, 3, made.made_at, made.offsets)
    assert read.parts.keys() == parts.keys()
    for name, state in parts.items():
        assert read.parts[name].keys() == state.keys()
        assert all(same(value, read.parts[name][key]) for key, value in state.items())


def test_not_a_number_keeps_its_bits() -> None:
    odd = np.array([0x7FF8_0000_0000_0001, 0xFFF8_0000_0000_0000, 0x8000_0000_0000_0000], np.uint64).view(np.float64)
    read = Snapshot.from_bytes(snapshot(part={"odd": odd}).to_bytes(), "watch", 3)
    assert read.parts["part"]["odd"].tobytes() == odd.tobytes()


def test_what_is_read_cannot_be_changed_by_mistake() -> None:
    read = Snapshot.from_bytes(snapshot(part={"a": np.zeros(3)}).to_bytes(), "watch", 3)
    with pytest.raises(ValueError, match="read-only"):
        read.parts["part"]["a"][0] = 1.0


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([None]), np.array([1j]), np.array(["2026"], "M8[s]")])
def test_an_array_of_anything_but_numbers_cannot_be_kept(value: np.ndarray) -> None:
    with pytest.raises(ValueError, match="part: a: arrays of"):
        snapshot(part={"a": value}).to_bytes()


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    data = snapshot(part={"a": np.arange(3.0), "b": [1, "two"]}).to_bytes()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(Permanent, match=r"^snapshot: (is|format)"):
            Snapshot.from_bytes(bytes(damaged), "watch", 3)
        with pytest.raises(Permanent, match=r"is cut short|is no snapshot"):
            Snapshot.from_bytes(data[:at], "watch", 3)
    with pytest.raises(Permanent, match="is damaged"):
        Snapshot.from_bytes(data + b"\0", "watch", 3)


def test_every_refusal_says_why() -> None:
    data = snapshot(part={"a": np.arange(3.0)}).to_bytes()
    cases: list[tuple[str, bytes, str, int]] = [
        ("is no snapshot", b"PAR1" + data, "watch", 3),
        ("is of a watch; expected one of a court", data, "court", 3),
        ("version 3 is newer than 2", data, "watch", 2),
        ("format 9 is newer than 1", data[:8] + b"\x09" + data[9:], "watch", 3),
        (f"is cut short: 100 of {len(data)} bytes", data[:100], "watch", 3),
        ("is damaged: its checksum does not fit", data[:-1] + b"\x01", "watch", 3),
    ]
    for reason, damaged, kind, version in cases:
        with pytest.raises(Permanent, match=reason):
            Snapshot.from_bytes(damaged, kind, version)


def test_an_older_version_is_for_the_caller_to_judge() -> None:
    assert Snapshot.from_bytes(snapshot().to_bytes(), "watch", 4).version == 3


class Count:
    """A part that keeps one number and an inner part."""

    def __init__(self, value: int) -> None:
        self.value = np.full(2, value)

    def state(self) -> State:
        return {"value": self.value.copy(), **nested("inner", {"text": "x"})}

    def restore(self, state: State) -> None:
        kept = Kept(state)
        self.value = kept.array("value", np.int64, 2)
        assert kept.within("inner").text("text") == "x"


def test_parts_are_collected_and_restored_by_name() -> None:
    kept = collect_state({"one": Count(1), "two": Count(2)})
    read = Snapshot.from_bytes(snapshot(**kept).to_bytes(), "watch", 3)
    parts = {"two": Count(0), "one": Count(0)}
    restore_state(parts, read.parts)
    assert (parts["one"].value[0], parts["two"].value[0]) == (1, 2)
    parts["one"].value[0] = 7  # what is restored is the part's own


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({}, "value: is missing"),
        ({"value": 3}, "value: is 3; expected an array of int64"),
        ({"value": np.zeros(2)}, "value: is an array of float64; expected an array of int64"),
        ({"value": np.zeros(3, np.int64)}, r"value: has shape \[3\]; expected 2"),
        ({"value": np.zeros((2, 2), np.int64)}, r"value: has shape \[2, 2\]; expected 2"),
        ({"value": np.zeros(2, np.int64), "inner/text": 3}, "text: is 3; expected a text"),
    ],
)
def test_what_does_not_fit_is_refused_by_part_and_key(state: State, complaint: str) -> None:
    with pytest.raises(Permanent, match=f"^snapshot: one: {complaint}"):
        restore_state({"one": Count(0)}, {"one": state})


def test_parts_that_lack_or_nobody_knows_are_refused() -> None:
    with pytest.raises(Permanent, match="snapshot: holds one; needed are one, two"):
        restore_state({"one": Count(1), "two": Count(2)}, {"one": Count(1).state()})
    with pytest.raises(Permanent, match="snapshot: holds one, two; needed are one"):
        restore_state({"one": Count(1)}, {"one": Count(1).state(), "two": Count(2).state()})


def test_the_reader_tells_each_kind_from_the_others() -> None:
    kept = Kept({"n": 1, "f": 0.5, "t": "x", "l": [[1, "a"], [2, "b"]], "none": None, "yes": True})
    assert (kept.integer("n"), kept.number("n"), kept.number("f"), kept.text("t")) == (1, 1.0, 0.5, "x")
    assert kept.maybe_integer("none") is None
    assert list(kept.rows("l", int, str)) == [(1, "a"), (2, "b")]
    for read, key in ((kept.integer, "yes"), (kept.integer, "f"), (kept.number, "yes"), (kept.items, "t")):
        with pytest.raises(Permanent, match=f"^{key}: is "):
            read(key)
    with pytest.raises(Permanent, match=r"l: holds .*; expected rows of int, int"):
        list(kept.rows("l", int, int))
