"""What users may set of the scoring engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coldaisle.config import Section


class EngineSettings(Section):
    """The scoring engine; the alert budget is the one number that most people ever change."""

    tick_seconds: Literal["auto"] | float = Field("auto", description="span judged at once; auto follows the data")
    allowed_lateness_seconds: float = Field(5.0, ge=0)
    alert_budget_per_1000_gpus_per_day: float = Field(1.0, gt=0)
    smoothing_samples: float = Field(3.0, ge=1)
    confirm_samples: int = Field(3, ge=1)
    certain_spreads: float = Field(8.0, gt=0)
    protect_tail_probability: float = Field(1e-4, gt=0, lt=1)
    relearn_seconds: float = Field(7200.0, gt=0)
    grace_seconds: float = Field(180.0, ge=0)
    silence_intervals: float = Field(3.25, gt=1)
    silence_least_seconds: float = Field(15.0, ge=0)
    forget_seconds: float = Field(86_400.0, gt=0)
    idle_seconds: float = Field(10.0, gt=0, description="how long an empty partition holds others up")
    evidence_seconds: float = Field(5.0, gt=0)
    early_warning: bool = Field(True, description="predict faults and limits, and settle each prediction")
    warn_probability: float = Field(0.8, ge=0.5, lt=1, description="from which a prediction becomes a ticket")
    load_detectors: tuple[str, ...] = ("peers", "drift")
    steady_detectors: tuple[str, ...] = ("level", "seasonal", "peers", "drift")
    peer_detectors: tuple[str, ...] = Field(("peers", "drift"), description="not believed while work changes")
    self_guarding: tuple[str, ...] = Field(("seasonal",), description="detectors that are taught odd samples too")
