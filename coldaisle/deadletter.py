"""Dead letters as messages and back: what could not be used, why, and where it came from."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from coldaisle.bus import Message
from coldaisle.errors import Permanent

DEADLETTER_VERSION = 1
MOST_LETTER_BYTES = 900_000
"""Of a dead letter with its headers: below the 1 MiB that Kafka takes unless told otherwise, so that poison fits."""
KEPT_OF_TOO_LARGE = 64 << 10
"""Bytes of a message that does not fit."""
_MOST_REASON = 1_000
_MOST_KEY_BYTES = 4 << 10

_VERSION = "dead-letter"
_SETTLED = "dead-letter-settled"
_ORIGIN, _REASON, _BY = "origin", "reason", "by"
_AT, _KEY = "original-timestamp", "original-key"
_LENGTH, _SHA256 = "original-bytes", "original-sha256"
_HEADER = "header:"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that could not be used. ``id`` is its origin, ``topic/partition/offset``, or what a store gave it."""

    id: str
    reason: str
    value: bytes  # as it came; only the beginning of one that is too large
    key: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    timestamp: int = 0  # ns, when the original was produced; 0 = unknown
    by: str = ""  # which role could not use it
    length: int | None = None  # bytes of the original where ``value`` is only its beginning
    sha256: str = ""  # of the original, likewise

    @property
    def topic(self) -> str:
        """Where it came from; empty where that is no topic."""
        topic, _, rest = self.id.partition("/")
        return topic if rest.replace("/", "", 1).isdigit() else ""

    @property
    def whole(self) -> bool:
        """Whether every byte of the original is here."""
        return self.length is None


class Settled(NamedTuple):
    """Says that a dead letter has been dealt with; written to the same topic under the same key."""

    id: str
    how: str  # replayed, dropped
    note: str = ""


def origin_of(message: Message) -> str:
    """Return ``topic/partition/offset``: the same however often the message is read."""
    return f"{message.partition.topic}/{message.partition.number}/{message.offset}"


def letter_of(message: Message, reason: str, by: str = "") -> Letter:
    """Return the dead letter of a message."""
    return Letter(origin_of(message), reason, message.value, message.key, dict(message.headers), message.timestamp, by)


def encode_letter(letter: Letter) -> tuple[bytes, bytes, dict[str, str]]:
    """
    Return key, value and headers. The key is the id, so that copies of one letter lie in one partition in order.

    What would not fit keeps its first 64 KiB, its length and its SHA-256, and says so.
    """
    headers = {
        _VERSION: str(DEADLETTER_VERSION),
        _ORIGIN: letter.id,
        _REASON: _sound(letter.reason[:_MOST_REASON]),
        _KEY: b64encode(letter.key[:_MOST_KEY_BYTES]).decode(),
        _AT: str(letter.timestamp),
    }
    if letter.by:
        headers[_BY] = letter.by
    value, length, digest = letter.value, letter.length, letter.sha256
    kept = {f"{_HEADER}{name}": _sound(text) for name, text in letter.headers.items()}
    if len(letter.key) > _MOST_KEY_BYTES or sum(map(len, kept)) + sum(map(len, kept.values())) > KEPT_OF_TOO_LARGE:
        kept = {}
        value, length, digest = _beginning(letter)
    if len(value) > MOST_LETTER_BYTES - 2 * KEPT_OF_TOO_LARGE:
        value, length, digest = _beginning(letter)
    if length is not None:
        headers |= {_LENGTH: str(length), _SHA256: digest}
    return letter.id.encode(), value, headers | kept


def encode_settled(settled: Settled) -> tuple[bytes, bytes, dict[str, str]]:
    """Return key, value and headers of the marker that settles a letter."""
    headers = {_VERSION: str(DEADLETTER_VERSION), _ORIGIN: settled.id, _SETTLED: settled.how}
    if settled.note:
        headers[_REASON] = _sound(settled.note[:_MOST_REASON])
    return settled.id.encode(), b"", headers


def decode_letter(message: Message) -> Letter | Settled:
    """Return what a message of the topic ``deadletters`` says. Raises Permanent where a newer version wrote it."""
    headers = message.headers
    version = headers.get(_VERSION)
    if version is None:
        # Before version 1 the key and the headers were the original's.
        rest = {name: text for name, text in headers.items() if name not in (_ORIGIN, _REASON)}
        where = headers.get(_ORIGIN, origin_of(message))
        return Letter(where, headers.get(_REASON, "unknown"), message.value, message.key, rest)
    if version != str(DEADLETTER_VERSION):
        raise Permanent(
            f"dead letter {origin_of(message)}: has version {version[:40]!r}; this reader knows "
            f"{DEADLETTER_VERSION} (a newer Coldaisle wrote it; use its command)"
        )
    try:
        if _SETTLED in headers:
            return Settled(headers[_ORIGIN], headers[_SETTLED], headers.get(_REASON, ""))
        return Letter(
            id=headers[_ORIGIN],
            reason=headers[_REASON],
            value=message.value,
            key=b64decode(headers.get(_KEY, "")),
            headers={name.removeprefix(_HEADER): text for name, text in headers.items() if name.startswith(_HEADER)},
            timestamp=int(headers.get(_AT, "0")),
            by=headers.get(_BY, ""),
            length=int(headers[_LENGTH]) if _LENGTH in headers else None,
            sha256=headers.get(_SHA256, ""),
        )
    except (KeyError, ValueError) as error:
        raise Permanent(f"dead letter {origin_of(message)}: is broken: {error}") from error


def _beginning(letter: Letter) -> tuple[bytes, int, str]:
    if letter.length is not None:
        return letter.value[:KEPT_OF_TOO_LARGE], letter.length, letter.sha256
    return letter.value[:KEPT_OF_TOO_LARGE], len(letter.value), sha256(letter.value).hexdigest()


def _sound(text: str) -> str:
    """Return ``text`` as UTF-8 can carry it."""
    return text.encode("utf-8", "replace").decode()
