"""Feeds the codecs a million broken messages: none may crash, hang, fill the memory or pass as something else."""

from __future__ import annotations

import argparse
import json
import mmap
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.fuzz_inputs import AT, Inputs
from coldaisle.bus import FRAMES, Message, Partition
from coldaisle.codec import LayoutCache, decode_anomaly, decode_event, decode_frame, encode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.inbound import FrameReader
from coldaisle.selfstats import SelfStats
from collectors.spool import decode_segment

SLOWEST_SECONDS = 1.0
MEMORY_BYTES = 3 << 30  # of address space: enough for the libraries, far below what a bomb asks for
_HANGS_SECONDS = 20.0
_AT_HAND = struct.Struct("<QQ")  # how many inputs are done, length of the one at hand
_ROOM = 4 << 20


class Result(NamedTuple):
    """What came of a run."""

    inputs: int
    refused: int  # with Permanent, as they should
    read: int
    slowest_seconds: float  # processor time of one input
    seconds: float
    peak_bytes: int  # resident
    failures: list[str]


class Codecs:
    """Every codec behind one call; anything but a result that makes sense or Permanent is a failure."""

    def __init__(self) -> None:
        self._layouts = LayoutCache(capacity=256)
        self._reader = FrameReader(SelfStats())
        self._number = 0

    def read(self, kind: str, data: bytes) -> bool:
        """Decode an input; return whether it was read. Raises whatever a codec lets out that it should not."""
        self._number += 1
        try:
            if kind == "arrow":
                self._sensible(decode_frame(data, self._layouts))
            elif kind == "event":
                decode_event(data)
            elif kind == "anomaly":
                decode_anomaly(data)
            if kind == "lines" or self._number % 8 == 0:
                message = Message(Partition(FRAMES, 0), 0, b"", data, {}, AT)
                for frame in self._reader.read(message).frames:
                    self._sensible(frame)
            if self._number % 8 == 1:
                decode_segment(data)
        except Permanent:
            return False
        return True

    def _sensible(self, frame: Frame) -> None:
        if not len(frame.layout) == len(frame.timestamps) == len(frame.values):
            raise AssertionError("columns of different lengths")
        if self._number % 64 == 0 and len({series.labels for series in frame.layout.series}) < 1000:
            again = decode_frame(encode_frame(frame))
            if again.layout.series != frame.layout.series or not np.array_equal(
                again.values, frame.values, equal_nan=True
            ):
                raise AssertionError("what was read does not survive being written")


def child(inputs: int, seed: int, at_hand: Path) -> int:
    """Run in a process that may die; the input at hand stands in the file ``at_hand``. Print the result as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    source, codecs, failures = Inputs(seed), Codecs(), list[str]()
    counts: Counter[bool] = Counter()
    slowest, began = 0.0, time.perf_counter()
    with at_hand.open("r+b") as file, mmap.mmap(file.fileno(), _ROOM) as shared:
        for number in range(inputs):
            kind, data = source.next()
            kept = data[: _ROOM - _AT_HAND.size]
            shared[_AT_HAND.size : _AT_HAND.size + len(kept)] = kept
            _AT_HAND.pack_into(shared, 0, number, len(kept))
            start = time.process_time()
            try:
                counts[codecs.read(kind, data)] += 1
            except Exception as error:  # whatever it is, it is what is looked for
                failures.append(f"input {number} ({kind}, {data[:60]!r}...): {type(error).__name__}: {error}"[:500])
                if len(failures) >= 20:
                    break
            took = time.process_time() - start
            if took > slowest:
                slowest = took
                if took > SLOWEST_SECONDS:
                    failures.append(f"input {number} ({kind}, {len(data):,} bytes) took {took:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    done = Result(
        sum(counts.values()), counts[False], counts[True], slowest, time.perf_counter() - began, peak, failures
    )
    print(json.dumps(done._asdict()))
    return 0


def run(inputs: int, seed: int, keep: Path) -> Result:
    """Fuzz in a process of its own; where it dies or hangs, the input at hand is written to ``keep``."""
    with tempfile.TemporaryDirectory() as folder:
        at_hand = Path(folder) / "at_hand"
        at_hand.write_bytes(bytes(_ROOM))
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", str(at_hand)]
        command += ["--inputs", str(inputs), "--seed", str(seed)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        done, moved = -1, time.monotonic()
        while True:
            try:
                output, _ = process.communicate(timeout=1.0)
                break
            except subprocess.TimeoutExpired:
                now = _AT_HAND.unpack_from(at_hand.read_bytes()[: _AT_HAND.size])[0]
                if now != done:
                    done, moved = now, time.monotonic()
                elif time.monotonic() - moved > _HANGS_SECONDS:
                    process.kill()
        if process.returncode == 0:
            return Result(**json.loads(output))
        held = at_hand.read_bytes()
        number, length = _AT_HAND.unpack_from(held)
        keep.write_bytes(held[_AT_HAND.size : _AT_HAND.size + length])
        how = "hung" if process.returncode == -9 else f"died with {process.returncode}"
        return Result(number, 0, 0, 0.0, 0.0, 0, [f"input {number} {how}; it is kept in {keep}"])


def main() -> int:
    """Print what came of it; return 1 where a codec failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--keep", type=Path, default=Path("fuzz.input"), help="where an input that kills is written")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        return child(args.inputs, args.seed, args.child)
    result = run(args.inputs, args.seed, args.keep)
    if args.json:
        print(json.dumps(result._asdict(), indent=2))
    else:
        rate = result.inputs / result.seconds if result.seconds else 0.0
        print(f"{result.inputs:,} inputs in {result.seconds:.0f} s ({rate:,.0f} a second)")
        print(f"{result.refused:,} refused, {result.read:,} read")
        print(f"the slowest took {1e3 * result.slowest_seconds:.0f} ms; {result.peak_bytes / 1e6:.0f} MB at most")
        for failure in result.failures:
            print(f"  ✗ {failure}")
    return 1 if result.failures or result.inputs < args.inputs else 0


if __name__ == "__main__":
    sys.exit(main())
