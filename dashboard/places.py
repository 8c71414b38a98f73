"""Narrows the hall to one place: a row, a rack, a node, a GPU, or what a cooling unit or a switch reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.incident import Incident
from coldaisle.live import LiveView
from coldaisle.series import Series
from coldaisle.topology import Topology, kind_of
from dashboard.hall import Arrangement, Block, Picture

Positions = NDArray[np.int64]
_PHONE = 640
_WIDE_ENOUGH = {True: 8.0, False: 6.0}  # pixels of a cell below which racks go on the next line; on a phone, else


@dataclass(frozen=True, slots=True)
class Number:
    """The newest value of one series beside what was expected of it; NaN = unknown."""

    series: Series
    value: float
    low: float
    high: float
    siblings: float
    score: float
    age_seconds: float


def cells_of(hall: Arrangement, at: str, topology: Topology) -> Positions:
    """Return the cells to show for ``at``: its own, or those it can harm; a GPU is shown among its node's."""
    node = topology.within(at, "node") if kind_of(at) in ("gpu", "nic", "psu", "port") else None
    found = hall.inside.get(node or at)
    if found is None and kind_of(at) != "site":
        several = [hall.inside[one] for one in topology.reach(at) if one in hall.inside]
        found = np.unique(np.concatenate(several)) if several else None
    return np.empty(0, dtype=np.int64) if found is None else found


def hall_pixels(screen: int) -> int:
    """Return how wide the hall's picture is on a screen of ``screen`` pixels (the style sheet's columns)."""
    if screen <= 1100:
        return max(200, screen - (48 if screen <= _PHONE else 82) - 40)
    return min(screen, 1680) - 48 - 376 - 16 - 34 - 40


def narrowed(picture: Picture, where: Positions | None, screen: int) -> Picture:
    """
    Return ``picture`` with the cells ``where`` only (None = all), laid out for a screen ``screen`` pixels wide.

    Racks go on the next line where their cells would be too small to hit.
    """
    hall = picture.arrangement
    widest = max((block.width for block in hall.blocks), default=1)
    least = _WIDE_ENOUGH[screen <= _PHONE]
    a_line = max(1, int(hall_pixels(screen) / least / (widest + 1)))
    longest = max((sum(1 for b in hall.blocks if b.row == row) for row in {b.row for b in hall.blocks}), default=0)
    if where is None and longest <= a_line:
        return picture
    chosen = np.arange(len(hall.cells)) if where is None else np.sort(where)
    laid = _laid_out(hall, chosen, a_line)
    order = chosen.tolist()
    return replace(
        picture,
        arrangement=laid,
        values=picture.values[chosen],
        low=picture.low[chosen],
        high=picture.high[chosen],
        siblings=picture.siblings[chosen],
        scores=picture.scores[chosen],
        known=picture.known[chosen],
        state=picture.state[chosen],
        strangest=tuple(picture.strangest[i] for i in order),
        incident=tuple(picture.incident[i] for i in order),
    )


def _laid_out(hall: Arrangement, chosen: Positions, a_line: int) -> Arrangement:
    x, y = np.zeros(len(chosen), dtype=np.int64), np.zeros(len(chosen), dtype=np.int64)
    index = np.full(len(hall.cells), -1, dtype=np.int64)
    index[chosen] = np.arange(len(chosen))
    blocks: list[Block] = []
    left = top = tall = width = in_line = 0
    row: str | None = None
    for block in hall.blocks:
        members = hall.inside[block.entity]
        members = members[index[members] >= 0]
        if not len(members):
            continue
        if row is not None and (block.row != row or in_line == a_line):
            top, left, tall, in_line = top + tall + 1, 0, 0, 0
        row = block.row
        own_x, own_y = hall.x[members] - block.x, hall.y[members] - block.y
        lines = np.unique(own_y)
        own_y = np.searchsorted(lines, own_y)
        x[index[members]], y[index[members]] = left + own_x, top + own_y
        blocks.append(replace(block, x=left, y=top, height=len(lines)))
        width = max(width, left + block.width)
        left, tall, in_line = left + block.width + 1, max(tall, len(lines)), in_line + 1
    kept = {}
    for name, positions in hall.inside.items():
        inner = index[positions]
        inner = inner[inner >= 0]
        if len(inner):
            kept[name] = inner
    return Arrangement(
        hall.kind, tuple(hall.cells[i] for i in chosen.tolist()), x, y, max(1, width), max(1, top + tall),
        tuple(blocks), kept,
    )  # fmt: skip


def touching(incidents: Sequence[Incident], at: str, topology: Topology) -> list[Incident]:
    """Return the incidents that reach into ``at`` or come from what it can harm or is harmed by."""
    below, above = topology.reach(at), topology.causes(at)
    found = []
    for incident in incidents:
        touched = {name for alert in incident.alerts for name in (alert.entity, *alert.members)} | set(
            incident.entities
        )
        if touched & below or (incident.suspect in above - {"site/site"} and touched & (below | {at})):
            found.append(incident)
    return found


def numbers(live: LiveView, at: str) -> list[Number]:
    """Return what ``at`` itself measures now, the strangest first."""
    rows = [row for row, entity in enumerate(live.entities) if entity == at]
    found = []
    for row in rows:
        group = int(live.groups[row])
        mates = np.flatnonzero(live.groups == group) if group >= 0 else np.empty(0, dtype=np.int64)
        seen = live.values[mates][np.isfinite(live.values[mates])]
        found.append(
            Number(
                series=live.series[row],
                value=float(live.values[row]) if live.timestamps[row] > 0 else float("nan"),
                low=float(live.low[row]),
                high=float(live.high[row]),
                siblings=float(np.median(seen)) if len(seen) > 2 else float("nan"),
                score=float(live.scores[row]),
                age_seconds=(live.now - int(live.timestamps[row])) / SECOND,
            )
        )
    return sorted(found, key=lambda one: (-(one.score if one.score == one.score else -1.0), one.series.metric))


def path_to(at: str, topology: Topology) -> list[str]:
    """Return the way from the hall to ``at``: what contains it, the outermost first, and itself; without the site."""
    return [*(one for one in reversed(topology.ancestors(at)) if kind_of(one) != "site"), at]
