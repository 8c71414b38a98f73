"""What can be said about a simulated hall."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from coldaisle.clock import parse_rfc3339
from coldaisle.config import Section
from collectors.simulator.faults import FAULTS

Cooling = Literal["air", "liquid", "mixed"]


def _known(kind: str) -> str:
    if kind not in FAULTS:
        raise ValueError(f"no fault is called {kind!r}; known faults: {', '.join(sorted(FAULTS))}")
    return kind


class FaultPlan(Section):
    """One fault by hand: what, when, and where and how long if it matters."""

    kind: str
    after_seconds: Annotated[float, Field(ge=0)]
    entity: str | None = None  # kind/name; None = a fitting one is drawn when it begins
    lasts_seconds: Annotated[float, Field(gt=0)] | None = None  # None = as long as its kind does
    grows_seconds: Annotated[float, Field(gt=0)] | None = None  # of one that builds up; None = its kind's pace

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        return _known(kind)


class SimulatorConfig(Section):
    """A hall of ``rows`` x ``racks_per_row`` x ``nodes_per_rack`` nodes of 8 GPUs."""

    rows: Annotated[int, Field(ge=1, le=200)] = 2
    racks_per_row: Annotated[int, Field(ge=1, le=100)] = 4
    nodes_per_rack: Annotated[int, Field(ge=1, le=16)] = 4
    cooling: Cooling = "mixed"
    seed: Annotated[int, Field(ge=0)] = 1
    step_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    start: str | int = "2026-01-05T09:00:00Z"
    faults: Literal["default", "none"] | list[str | FaultPlan] = "default"
    fault_rate: Annotated[float, Field(gt=0, le=600)] = 12.0  # faults begun an hour, on average
    first_fault_after_seconds: Annotated[float, Field(ge=0)] = 45.0
    build_up_seconds: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """How long faults that build up take to be full, drawn between; None = a demo's pace of minutes."""
    duration_seconds: Annotated[float, Field(gt=0)] | None = None

    @field_validator("build_up_seconds")
    @classmethod
    def _shortest_first(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        if span is not None and span[0] > span[1]:
            raise ValueError(f"the shortest ({span[0]:g}) stands before the longest ({span[1]:g})")
        return span

    @field_validator("start")
    @classmethod
    def _start_is_a_time(cls, start: str | int) -> str | int:
        if isinstance(start, str):
            try:
                parse_rfc3339(start)
            except ValueError as error:
                raise ValueError(f"{start!r} is not a time; write it as 2026-01-05T09:00:00Z") from error
        return start

    @field_validator("faults")
    @classmethod
    def _faults_are_known(
        cls, faults: Literal["default", "none"] | list[str | FaultPlan]
    ) -> Literal["default", "none"] | list[str | FaultPlan]:
        if not isinstance(faults, str):
            for fault in faults:
                if isinstance(fault, str):
                    _known(fault)
        return faults

    @property
    def start_ns(self) -> int:
        """The hall's first instant, Unix ns."""
        return parse_rfc3339(self.start) if isinstance(self.start, str) else self.start
