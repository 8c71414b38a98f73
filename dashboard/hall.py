"""Lays the hall out in a grid, and fills the grid from the newest telemetry."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.incident import Incident
from coldaisle.live import LiveView
from coldaisle.severity import Severity
from coldaisle.topology import Entity, Topology, kind_of, name_of
from dashboard.words import natural

UNKNOWN, FINE, INFO, WARNING, CRITICAL = range(5)
"""The state of a cell, worst last; unknown is no telemetry."""
STATE_OF = {Severity.PAGE: CRITICAL, Severity.TICKET: WARNING, Severity.INFO: INFO}
_GPUS_A_NODE = 8
_UNPLACED_A_COLUMN = 16
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """A rack as drawn: its corner in the grid, its size in cells."""

    entity: str
    label: str
    row: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Where every cell (a GPU, or a node where there are no GPUs) stands. Position ``i`` is ``cells[i]``."""

    kind: str
    cells: tuple[str, ...]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    width: int
    height: int
    blocks: tuple[Block, ...]
    inside: dict[str, NDArray[np.int64]]  # node, rack or row -> positions of its cells

    def grid(self, values: NDArray[Any], empty: float = np.nan) -> Floats:
        """Return ``values`` ([cells]) as the [height, width] grid with ``empty`` between them."""
        grid = np.full((self.height, self.width), empty, dtype=np.float64)
        grid[self.y, self.x] = values
        return grid

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return ``texts`` ([cells]) as the grid."""
        grid = [[""] * self.width for _ in range(self.height)]
        for text, x, y in zip(texts, self.x.tolist(), self.y.tolist(), strict=True):
            grid[y][x] = text
        return grid


def arrange(topology: Topology) -> Arrangement:
    """
    Place rows above each other, racks side by side, a node a line, its GPUs from left to right.

    Nodes that no file places in a rack stand in columns of 16 under the name of their parent, so that an
    unknown hall is still one picture.
    """
    entities = {entity.id: entity for entity in tuple(topology)}
    nodes = [entity for entity in entities.values() if entity.kind == "node"]
    gpus_of: dict[str, list[str]] = {}
    for entity in entities.values():
        if entity.kind == "gpu" and entity.parent in entities:
            gpus_of.setdefault(str(entity.parent), []).append(entity.id)
    for gpus in gpus_of.values():
        gpus.sort(key=lambda gpu: natural(entities[gpu].attributes.get("index", gpu)))
    kind = "gpu" if gpus_of else "node"
    if kind == "gpu":
        nodes = [node for node in nodes if node.id in gpus_of]
    racks = _racks(nodes, entities)
    rows: dict[str, list[tuple[str, list[Entity]]]] = {}
    for rack, members in racks.items():
        rows.setdefault(_row_of(rack, entities), []).append((rack, members))
    return _place(kind, rows, gpus_of)


def _racks(nodes: list[Entity], entities: dict[str, Entity]) -> dict[str, list[Entity]]:
    racks: dict[str, list[Entity]] = {}
    for node in sorted(nodes, key=lambda node: natural(node.name)):
        home = node.parent if node.parent is not None and kind_of(node.parent) == "rack" else ""
        racks.setdefault(home or "", []).append(node)
    loose = racks.pop("", [])
    for start in range(0, len(loose), _UNPLACED_A_COLUMN):
        part = loose[start : start + _UNPLACED_A_COLUMN]
        racks[f"rack/{part[0].name}…"] = part
    return dict(sorted(racks.items(), key=lambda item: natural(item[0])))


def _row_of(rack: str, entities: dict[str, Entity]) -> str:
    known = entities.get(rack)
    if known is None:
        return ""
    if known.parent is not None and kind_of(known.parent) == "row":
        return known.parent
    row = known.attributes.get("row")
    return f"row/{row}" if row else ""


def _place(kind: str, rows: dict[str, list[tuple[str, list[Entity]]]], gpus_of: dict[str, list[str]]) -> Arrangement:
    cells: list[str] = []
    xs: list[int] = []
    ys: list[int] = []
    blocks: list[Block] = []
    inside: dict[str, list[int]] = {}
    top = width = 0
    for row in sorted(rows, key=natural):
        for line in _lines(row, rows[row], kind):
            left = tall = 0
            for rack, nodes in line:
                wide = 1
                for depth, node in enumerate(nodes):
                    members = gpus_of.get(node.id, []) if kind == "gpu" else [node.id]
                    for slot, cell in enumerate(members):
                        position = len(cells)
                        cells.append(cell)
                        xs.append(left + slot)
                        ys.append(top + depth)
                        for container in {node.id, rack, row, cell}:
                            inside.setdefault(container, []).append(position)
                    wide = max(wide, len(members))
                blocks.append(Block(rack, name_of(rack), row, left, top, wide, len(nodes)))
                left += wide + 1
                tall = max(tall, len(nodes))
            width = max(width, left - 1)
            top += tall + 1
    return Arrangement(
        kind=kind,
        cells=tuple(cells),
        x=np.array(xs, dtype=np.int64),
        y=np.array(ys, dtype=np.int64),
        width=max(1, width),
        height=max(1, top - 1),
        blocks=tuple(blocks),
        inside={name: np.array(several, dtype=np.int64) for name, several in inside.items()},
    )


def _lines(row: str, racks: list[tuple[str, list[Entity]]], kind: str) -> list[list[tuple[str, list[Entity]]]]:
    """A row of the hall is one line of racks; what belongs to no row is broken into lines of a readable length."""
    if row or len(racks) <= 1:
        return [racks]
    length = 8 if kind == "gpu" else 40
    return [racks[start : start + length] for start in range(0, len(racks), length)]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which series of a live view belongs to which cells; made once a version."""

    arrangement: Arrangement
    metrics: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]  # metric -> (series, cell), pairwise
    all_series: NDArray[np.int64]
    all_cells: NDArray[np.int64]
    totals: dict[str, NDArray[np.int64]]  # metric -> its series, for sums over the hall


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The hall at one instant; arrays are [cells]."""

    arrangement: Arrangement
    now: int
    metric: str
    values: Floats  # NaN = unknown
    low: Floats
    high: Floats
    siblings: Floats  # median of the peer group
    scores: Floats  # of the strangest metric of the cell
    strangest: tuple[str, ...]  # the metric that has that score
    known: NDArray[np.bool_]
    state: NDArray[np.int64]
    incident: tuple[str, ...]  # id of the worst open incident that holds the cell


class HallKeeper:
    """Keeps the arrangement between refreshes; safe to use from any thread."""

    def __init__(self, stale_after_seconds: float = 90.0) -> None:
        self._stale_after = round(stale_after_seconds * SECOND)
        self._lock = threading.Lock()
        self._key: tuple[int, int, int] | None = None
        self._plan: Plan | None = None

    def plan(self, live: LiveView, topology: Topology) -> Plan:
        """Return the plan of this version of telemetry and topology."""
        key = (live.version, topology.version, len(live.series))
        with self._lock:
            if self._plan is None or key != self._key:
                self._plan, self._key = _plan(live, topology), key
            return self._plan

    def picture(
        self, live: LiveView, topology: Topology, incidents: Iterable[Incident], metric: str | None = None
    ) -> Picture:
        """Return the hall now. ``metric`` None = the first that the hall has."""
        plan = self.plan(live, topology)
        hall = plan.arrangement
        count = len(hall.cells)
        chosen = metric if metric in plan.metrics else (next(iter(plan.metrics), "") if metric is None else metric)
        values, low, high, siblings = (np.full(count, np.nan) for _ in range(4))
        if chosen in plan.metrics:
            rows, cells = plan.metrics[chosen]
            order = np.argsort(np.nan_to_num(live.scores[rows]), kind="stable")  # the strangest is written last
            rows, cells = rows[order], cells[order]
            fresh = live.timestamps[rows] >= live.now - self._stale_after
            rows, cells = rows[fresh], cells[fresh]
            values[cells], low[cells], high[cells] = live.values[rows], live.low[rows], live.high[rows]
            siblings[cells] = _medians(live.values[rows], live.groups[rows])
        scores = np.full(count, np.nan)
        newest = np.zeros(count, dtype=np.int64)
        strangest = np.full(count, -1, dtype=np.int64)
        if len(plan.all_series):
            seen = live.scores[plan.all_series].astype(np.float64)
            np.fmax.at(scores, plan.all_cells, seen)
            np.maximum.at(newest, plan.all_cells, live.timestamps[plan.all_series])
            top = seen == scores[plan.all_cells]
            strangest[plan.all_cells[top]] = plan.all_series[top]
        known = (newest > 0) & (newest >= live.now - self._stale_after)
        state = np.where(known, FINE, UNKNOWN)
        names = [""] * count
        for position, code, name in _held(hall, incidents):
            if code > state[position] or not names[position]:
                state[position] = max(code, state[position])
                names[position] = name
        return Picture(
            arrangement=hall,
            now=live.now,
            metric=chosen,
            values=np.where(known, values, np.nan),
            low=low,
            high=high,
            siblings=siblings,
            scores=np.where(known, scores, np.nan),
            strangest=tuple(live.series[i].metric if i >= 0 else "" for i in strangest.tolist()),
            known=known,
            state=state,
            incident=tuple(names),
        )


def _held(hall: Arrangement, incidents: Iterable[Incident]) -> Iterable[tuple[int, int, str]]:
    """Yield (cell, state, incident id) for every cell in the reach of an incident."""
    for incident in incidents:
        code = STATE_OF[incident.severity]
        holders = {name for alert in incident.firing for name in (alert.entity, *alert.members)}
        for entity in holders or set(incident.entities):
            for position in hall.inside.get(entity, np.empty(0, dtype=np.int64)).tolist():
                yield position, code, incident.id


def _medians(values: Floats, groups: NDArray[np.int32]) -> Floats:
    """Return the median of each value's group; NaN where it has none."""
    result = np.full(len(values), np.nan)
    usable = (groups >= 0) & np.isfinite(values)
    if not usable.any():
        return result
    where = np.flatnonzero(usable)
    where = where[np.lexsort((values[where], groups[where]))]
    _, starts, counts = np.unique(groups[where], return_index=True, return_counts=True)
    ordered = values[where]
    middle = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    result[where] = np.repeat(middle, counts)
    return result


def _plan(live: LiveView, topology: Topology) -> Plan:
    hall = arrange(topology)
    pairs: dict[str, tuple[list[int], list[int]]] = {}
    totals: dict[str, list[int]] = {}
    every: tuple[list[int], list[int]] = ([], [])
    for position, (series, entity) in enumerate(zip(live.series, live.entities, strict=True)):
        if series.metric.endswith("_power_watts"):
            totals.setdefault(series.metric, []).append(position)
        if kind_of(entity) == "row" or series.metric.startswith("collector_"):
            continue
        cells = hall.inside.get(entity)
        if cells is None:
            continue
        rows, columns = pairs.setdefault(series.metric, ([], []))
        rows.extend([position] * len(cells))
        columns.extend(cells.tolist())
        every[0].extend([position] * len(cells))
        every[1].extend(cells.tolist())
    return Plan(
        arrangement=hall,
        metrics={m: (np.array(r, np.int64), np.array(c, np.int64)) for m, (r, c) in sorted(pairs.items())},
        all_series=np.array(every[0], np.int64),
        all_cells=np.array(every[1], np.int64),
        totals={metric: np.array(rows, np.int64) for metric, rows in totals.items()},
    )


def power(live: LiveView, plan: Plan, stale_after_ns: int) -> tuple[float, str] | None:
    """Return (watts, of what): the site's meter where there is one, else the best sum of fresh telemetry."""
    for metric, word in (
        ("site_power_watts", "the site"),
        ("pdu_power_watts", "PDUs"),
        ("node_power_watts", "nodes"),
        ("gpu_power_watts", "GPUs"),
    ):
        rows = plan.totals.get(metric)
        if rows is None:
            continue
        seen = np.where(live.timestamps[rows] >= live.now - stale_after_ns, live.values[rows], np.nan)
        if np.isfinite(seen).any():
            return float(np.nansum(seen)), word
    return None


def pue(live: LiveView, plan: Plan, nodes: int, stale_after_ns: int) -> float | None:
    """
    Return the site's power over that of its nodes (PUE, ISO/IEC 30134-2), or None where it would be a guess.

    Only where the site has a meter and every node of the graph reports its power now: a missing node would
    make the hall look worse than it is. Switches count as overhead here, so the figure errs upwards.
    """
    site, node = plan.totals.get("site_power_watts"), plan.totals.get("node_power_watts")
    if site is None or node is None or len(node) != nodes or not nodes:
        return None
    rows = np.concatenate((site, node))
    if not np.isfinite(live.values[rows]).all() or (live.timestamps[rows] < live.now - stale_after_ns).any():
        return None
    drawn = float(live.values[node].sum())
    return float(live.values[site].sum()) / drawn if drawn > 0 else None
