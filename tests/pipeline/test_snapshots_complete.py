"""Nothing that a part of the engine remembers is forgotten by its snapshot, attribute by attribute."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np

from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Snapshot
from pipeline.shards import VERSION, restore, snapshot_of
from tests.pipeline.eventful_hall import Hall, Stages

ROOMS = ("coldaisle", "pipeline", "models")
WORKED_OUT_AGAIN = {
    "SeriesTable": {"_layouts", "_told"},  # ids of layouts are looked up again
    "Topology": {"_file", "_text", "_texted"},
    "TickBuffer": {"_spans", "_held"},  # what came in several pieces is one afterwards
    "PeerGroups": {"_shapes"},
    "Findings": {"_told"},
    "Entities": {"_cells", "_kinds", "_kind"},  # which series stand for which entity follows from the table
    "EntityOpinions": {"_rules"},  # the rules are asked again
    "Forest": {"_columns"},  # which feature a forest wants stands where is looked up again
    "_Growing": {"fitted"},  # grown again from the same sample and seed
    "_Watch": {"covers"},  # the rule is asked again
    "Docket": {"_shares", "_ad_hoc", "_labels"},
    "CourtRoom": {"_plans"},
    "Gaps": {"_look_at"},
    "Judge": {"_opinions"},  # taken in the same tick
    "Level": {"_scored"},
    "Peers": {"_judged"},
    "GroupedMemory": {"_plans"},
    "EarlyWarning": {"_places"},  # which series belong together follows from what is watched
    "LimitWarning": {"_of", "_slots"},
    "WatchedSeries": {"_watched", "_bound", "_other"},  # the limits' series are looked up again
    "Watch": {"_job_number"},  # only the order of jobs of one instant, and those that wait keep theirs
}
"""What a part may keep in mind only to be faster."""
ONLY_LOOKED_UP = {"_ids", "_entity_of_labels"}
"""Dictionaries whose order means nothing."""


def differences(mine: Any, theirs: Any, path: str, seen: set[int]) -> Iterator[str]:
    """Yield where two objects are unlike in anything that is not merely worked out."""
    if isinstance(mine, np.ndarray):
        # Columns have room to spare, which holds the same everywhere.
        one, other = np.atleast_1d(mine), np.atleast_1d(theirs)
        shared = min(one.shape[-1], other.shape[-1])
        alike = one.dtype == other.dtype and one[..., :shared].tobytes() == other[..., :shared].tobytes()
        spare = max(one, other, key=np.size)[..., shared:]
        if not alike or (spare.size and not np.array_equal(spare, np.broadcast_to(spare[..., -1:], spare.shape), True)):
            yield path
    elif isinstance(mine, SelfStats) or callable(mine):
        return
    elif isinstance(mine, dict):
        if list(mine) != list(theirs):
            yield f"{path}: keys"
            return
        for key in mine:
            yield from differences(mine[key], theirs[key], f"{path}[{key!r}]", seen)
    elif isinstance(mine, list | tuple | deque):
        if type(mine) is not type(theirs) or len(mine) != len(theirs):
            yield f"{path}: length"
            return
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{number}]", seen)
    elif type(mine).__module__.partition(".")[0] in ROOMS and not isinstance(mine, Enum) and hasattr(mine, "__dict__"):
        if id(mine) in seen:
            return
        seen.add(id(mine))
        for name in vars(mine).keys() - WORKED_OUT_AGAIN.get(type(mine).__name__, set()):
            if name not in ONLY_LOOKED_UP:
                yield from differences(vars(mine)[name], vars(theirs)[name], f"{path}.{name}", seen)
            elif vars(mine)[name] != vars(theirs)[name]:
                yield f"{path}.{name}"
    elif mine != theirs and repr(mine) != repr(theirs):  # not a number is like itself
        yield f"{path}: {mine!r} {theirs!r}"


def test_every_attribute_is_kept_or_known_to_be_worked_out_again() -> None:
    stages, found = Stages(), []
    for number, moment in enumerate(Hall(1).moments(180)):
        found += stages.feed(number, moment)
        if number not in (60, 75, 110, 150, 179):
            continue
        after = Stages()
        for mine, theirs in ((stages.watch, after.watch), (stages.court, after.court)):
            data = snapshot_of(mine, 0).to_bytes()
            restore(theirs, Snapshot.from_bytes(data, mine.kind, VERSION))
            assert list(differences(mine, theirs, mine.kind, set())) == []
    assert found
