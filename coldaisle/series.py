"""What is measured: a metric of one labelled thing, and ordered sets of such."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
"""Pairs of (name, value), sorted by name; the canonical form, so that equal labels are equal tuples."""


def labels(**pairs: str) -> Labels:
    """Return ``pairs`` in canonical order."""
    return tuple(sorted(pairs.items()))


def labels_of(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Return ``pairs`` in canonical order; for names that are not Python identifiers."""
    return tuple(sorted(pairs))


class Series(NamedTuple):
    """What is measured: a metric of one labelled thing. The metric's name ends in its base unit."""

    metric: str
    labels: Labels

    def label(self, name: str) -> str | None:
        """Return the value of label ``name``, or None where the series does not carry it."""
        for key, value in self.labels:
            if key == name:
                return value
        return None

    def __str__(self) -> str:
        inside = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.metric}{{{inside}}}"


class Layout:
    """
    An ordered tuple of series with a digest: the columns of a frame.

    A collector sends the same layout scrape after scrape, so whoever knows the digest need not look at
    the series again. Two layouts with the same digest are the same.
    """

    __slots__ = ("digest", "series")

    def __init__(self, series: Iterable[Series]) -> None:
        self.series: tuple[Series, ...] = tuple(series)
        self.digest: str = digest(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Layout({len(self.series)} series, {self.digest[:8]})"


def digest(series: Iterable[Series]) -> str:
    """
    Return 32 hex digits that identify ``series`` in their order.

    Every part is preceded by its length, so that no two different lists share one encoding.
    """
    state = blake2b(digest_size=16)
    for metric, pairs in series:
        parts = [metric, *(part for pair in pairs for part in pair)]
        state.update(len(parts).to_bytes(4, "big"))
        for part in parts:
            encoded = part.encode()
            state.update(len(encoded).to_bytes(4, "big"))
            state.update(encoded)
    return state.hexdigest()
