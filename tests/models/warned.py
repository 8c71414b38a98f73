"""A small place of watched series that warners are shown, minute by minute."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from coldaisle.clock import MINUTE, SECOND
from coldaisle.event import Event
from coldaisle.warner import Minute, View, Warner, Watched

START = 1_800_000_000 * SECOND // MINUTE * MINUTE
Key = tuple[str, int, int]
"""Metric, number of the entity, number of the device; a fourth thing of a device is another entity."""


class Place:
    """Series by (metric, entity, which of them); one device holds ten entities."""

    def __init__(self, warner: Warner, keys: list[Key], limits: Mapping[int, tuple[float, bool]] | None = None) -> None:
        self.warner, self.keys = warner, keys
        names = tuple(dict.fromkeys(key[0] for key in keys))
        entity = np.array([key[1] for key in keys], np.int32)
        self._limits = np.full(len(keys), np.nan)
        self._upward = np.ones(len(keys), np.bool_)
        rule = np.full(len(keys), -1, np.int32)
        for slot, (limit, upward) in (limits or {}).items():
            self._limits[slot], self._upward[slot], rule[slot] = limit, upward, 0
        self.watched = Watched(
            names, ("too_much",), ("docs/runbooks/much.md",),
            np.array([names.index(key[0]) for key in keys], np.int32), entity, (entity // 10).astype(np.int32), rule,
        )  # fmt: skip
        self.minutes = 0
        warner.reset(np.arange(len(keys)))

    def look(self, values: list[float], *events: tuple[int, Event], broken: tuple[int, ...] = ()) -> View:
        """Show one minute."""
        self.minutes += 1
        flags = np.zeros(len(self.keys), np.bool_)
        flags[list(broken)] = True
        at = START + self.minutes * MINUTE
        return self.warner.look(
            self.watched, Minute(at, np.array(values, np.float64), self._limits.copy(), self._upward, flags), events
        )


def odds(view: View, rule: str, entity: int = 0) -> float:
    """Return the probability of one outlook; 0 where there is none."""
    return next((one.probability for one in view.outlooks if one.rule == rule and one.entity == entity), 0.0)
