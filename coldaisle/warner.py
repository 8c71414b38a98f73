"""The Warner port: sees faults coming in the series of one entity, and says how likely they are."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coldaisle.event import Event
from coldaisle.frame import Values
from coldaisle.prediction import Reason, Within
from coldaisle.state import State

Slots = NDArray[np.int64]
"""The small integers that a warner's series have; other than their ids, since it watches only some."""


class Watched(NamedTuple):
    """The series that a warner watches, by slot. A slot whose ``metric`` is -1 is free."""

    names: tuple[str, ...]  # of metrics
    rules: tuple[str, ...]  # that set limits
    runbooks: tuple[str, ...]  # of these rules
    metric: NDArray[np.int32]  # [n] position in ``names``
    entity: NDArray[np.int32]  # [n] what it is about
    source: NDArray[np.int32]  # [n] which device tells
    rule: NDArray[np.int32]  # [n] position in ``rules``; -1 = no limit holds for it


class Minute(NamedTuple):
    """What is known of the watched series at the end of a minute, by slot; NaN = not heard lately."""

    at: int  # Unix ns
    values: Values  # [n] as they came: gauges, and counters as they stand
    limits: Values  # [n] what a rule or the device itself calls too much (or too little); NaN = none
    upward: NDArray[np.bool_]  # [n] whether being above the limit is the harm
    broken: NDArray[np.bool_]  # [n] whether the limit's rule speaks of it now


class Outlook(NamedTuple):
    """What a warner thinks will befall an entity."""

    rule: str
    what: str  # in words
    entity: int
    probability: float  # before the record of earlier ones corrects it
    within: Within
    reasons: tuple[Reason, ...]
    slot: int = -1  # of the series that speaks for it most
    action: str = ""
    runbook: str = ""
    model: str = ""  # which of the warner's models says so: ``WARNER/MODEL``; empty = the warner itself
    version: str = ""  # of that model


class Happened(NamedTuple):
    """That what a rule predicts has befallen an entity, whether it was predicted or not."""

    rule: str
    entity: int
    at: int  # Unix ns


class View(NamedTuple):
    """What a warner sees at the end of a minute."""

    outlooks: tuple[Outlook, ...]
    happened: tuple[Happened, ...]
    begun_anew: tuple[int, ...] = ()  # entities that were reset: what was predicted of them is void


class Warner(Protocol):
    """
    Looks at series minute by minute of event time.

    It sees only one entity and its own node at a time, never a fleet. Equal input gives equal outlooks.
    """

    @property
    def name(self) -> str:
        """The word for this warner."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever equal input may be judged differently."""
        ...

    @property
    def threat(self) -> str:
        """What it says that things are likely to do: ``fail``."""
        ...

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics that it wants to see."""
        ...

    @property
    def wants_limits(self) -> bool:
        """Whether it also wants every gauge for which a limit holds."""
        ...

    def reset(self, slots: Slots) -> None:
        """Make room for new series, or begin anew with slots that were freed."""
        ...

    def look(self, watched: Watched, minute: Minute, events: tuple[tuple[int, Event], ...]) -> View:
        """Take a minute, with the events (entity, event) that happened in it; return what is to be expected."""
        ...

    def state(self) -> State:
        """Return what a snapshot keeps."""
        ...

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        ...
