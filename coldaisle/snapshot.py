"""What was learnt, with the offsets that it belongs to, as one file that is read back exactly or refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from coldaisle.bus import Partition
from coldaisle.errors import Permanent
from coldaisle.state import State, Stateful, collect_state, restore_state

__all__ = ["FORMAT", "Snapshot", "State", "Stateful", "collect_state", "restore_state"]

FORMAT = 1
"""Of the file, not of what the parts keep in it."""
MAGIC = b"\x89COLDSNP"  # the first byte is no text, so that nobody takes the file for one
_START = struct.Struct("<8sIIQQ")  # magic, format, CRC-32 of everything else, bytes in all, bytes of the header
_CHECK = slice(12, 16)  # where the CRC-32 stands
_ALIGN = 64
_KINDS = "biuf"  # of arrays: booleans, integers, floats


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """
    The state of some parts after all messages before ``offsets``.

    ``kind`` says whose it is (``watch``, ``court``), ``version`` what its parts keep in it.
    """

    kind: str
    version: int
    made_at: int  # Unix ns
    offsets: Mapping[Partition, int]  # the next message of each
    parts: Mapping[str, State]

    def to_bytes(self) -> bytes:
        """
        Return one file: a start of 32 bytes, a JSON header, and the arrays one after another, little-endian.

        Raises ValueError where a part keeps what is neither a plain array nor JSON.
        """
        buffers: list[NDArray[Any]] = []
        at = 0
        parts: dict[str, dict[str, Any]] = {}
        for name, state in self.parts.items():
            parts[name] = told = {}
            for key, value in state.items():
                if not isinstance(value, np.ndarray):
                    told[key] = {"json": value}
                    continue
                if value.dtype.kind not in _KINDS:
                    raise ValueError(f"{name}: {key}: arrays of {value.dtype} cannot be kept")
                plain = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).reshape(value.shape)
                told[key] = {"dtype": plain.dtype.str, "shape": list(value.shape), "at": at}
                buffers.append(plain)
                at += _aligned(plain.nbytes)
        header = {
            "kind": self.kind,
            "version": self.version,
            "made_at": self.made_at,
            "offsets": [[topic, number, offset] for (topic, number), offset in self.offsets.items()],
            "parts": parts,
        }
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
        # Spaces end the header where the first array may begin.
        text = text.ljust(_aligned(_START.size + len(text)) - _START.size)
        size = _START.size + len(text) + at
        pieces: list[Any] = [text]
        for plain in buffers:
            pieces += [plain.reshape(-1).view(np.uint8).data, bytes(_aligned(plain.nbytes) - plain.nbytes)]
        check = _checksum(_START.pack(MAGIC, FORMAT, 0, size, len(text)), *pieces)
        return b"".join([_START.pack(MAGIC, FORMAT, check, size, len(text)), *pieces])

    @classmethod
    def from_bytes(cls, data: bytes, kind: str, version: int) -> Snapshot:
        """
        Return the snapshot that ``data`` holds; its arrays are read-only views of ``data``.

        Raises Permanent that says why it is refused: it is cut short, damaged, of another kind, or made by a newer
        Coldaisle than this one, which knows parts up to ``version``.
        """
        header, arrays = _opened(data)
        if header["kind"] != kind:
            raise Permanent(f"snapshot: is of a {header['kind']}; expected one of a {kind}")
        if header["version"] > version:
            raise Permanent(f"snapshot: version {header['version']} is newer than {version}, which is known here")
        parts = {
            name: {key: _value(told, arrays, f"{name}: {key}") for key, told in state.items()}
            for name, state in header["parts"].items()
        }
        offsets = {Partition(topic, number): offset for topic, number, offset in header["offsets"]}
        return cls(kind, header["version"], header["made_at"], offsets, parts)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _checksum(start: bytes, *rest: Any) -> int:
    check = crc32(start[_CHECK.stop :], crc32(start[: _CHECK.start]))
    for piece in rest:
        check = crc32(piece, check)
    return check


def _opened(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header of a whole and undamaged file, and its arrays' bytes."""
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise Permanent("snapshot: is no snapshot")
    if len(data) < _START.size:
        raise Permanent(f"snapshot: is cut short: {len(data)} bytes")
    _, form, check, size, header_size = _START.unpack_from(data)
    if form > FORMAT:
        raise Permanent(f"snapshot: format {form} is newer than {FORMAT}, which is known here")
    if len(data) < size:
        raise Permanent(f"snapshot: is cut short: {len(data)} of {size} bytes")
    view = memoryview(data)
    if len(data) > size or _checksum(data[: _START.size], view[_START.size :]) != check:
        raise Permanent("snapshot: is damaged: its checksum does not fit")
    header: dict[str, Any] = json.loads(bytes(view[_START.size : _START.size + header_size]))
    return header, view[_START.size + header_size :]


def _value(told: dict[str, Any], arrays: memoryview, where: str) -> Any:
    if "json" in told:
        return told["json"]
    dtype, shape = np.dtype(told["dtype"]), tuple(told["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.kind not in _KINDS or told["at"] + count * dtype.itemsize > len(arrays):
        raise Permanent(f"snapshot: {where}: does not lie within the file")
    return np.frombuffer(arrays, dtype, count, told["at"]).reshape(shape)
