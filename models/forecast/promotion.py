"""Whether a trained forecaster takes over: only where it is better on later data than it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from models.forecast.measures import Quality

BETTER = 0.98
"""A newcomer's quantile loss must be below this share of the others': less is not worth a change."""
NO_WORSE = 1.02
"""Its median may err by this much more than the light one's."""
HONEST_80, HONEST_98 = (0.70, 0.90), 0.94
"""Between what shares the band of 80 % must hold the truth, and how often that of 98 % at least."""
ENOUGH = 100
"""Fewer later forecasts than this decide nothing."""


class Trial(NamedTuple):
    """How forecasters did on the same later data."""

    learnt_to: int  # the last moment that the newcomer learnt from, Unix ns
    judged_from: int  # the first moment that was foretold
    forecasts: int
    newcomer: Quality
    light: Quality
    champion: Quality | None = None


class Decision(NamedTuple):
    """Whether the newcomer takes over, why, and what was compared."""

    promoted: bool
    reason: str
    scores: Mapping[str, float]


def decide(trial: Trial) -> Decision:
    """Return whether the newcomer is promoted: it beats the light forecaster and the champion, with honest bands."""
    reason = _refusal(trial)
    scores: dict[str, float] = {}
    for name, quality in (("", trial.newcomer), ("light_", trial.light), ("champion_", trial.champion)):
        if quality is not None:
            fields = quality._asdict().items()
            scores |= {f"{name}{field}": float(value) for field, value in fields if np.isfinite(value)}
    if reason:
        return Decision(False, reason, scores)
    gain = 100.0 * (1.0 - trial.newcomer.quantile_loss / trial.light.quantile_loss)
    beaten = f"{gain:.0f} % less quantile loss than the light forecaster"
    if trial.champion is not None:
        more = 100.0 * (1.0 - trial.newcomer.quantile_loss / trial.champion.quantile_loss)
        beaten += f" and {more:.0f} % less than the present model"
    return Decision(True, f"{beaten}, on {trial.forecasts} forecasts of later data", scores)


def _refusal(trial: Trial) -> str:
    new, light, champion = trial.newcomer, trial.light, trial.champion
    if trial.judged_from <= trial.learnt_to:
        return "it was judged on data that it had learnt from"
    if trial.forecasts < ENOUGH:
        return f"{trial.forecasts} later forecasts are too few to judge by; {ENOUGH} are needed"
    if not all(np.isfinite(new)):
        return "it gave no forecasts that could be judged"
    if new.quantile_loss > BETTER * light.quantile_loss:
        return (
            f"its quantile loss {new.quantile_loss:.4g} does not beat the light forecaster's {light.quantile_loss:.4g}"
        )
    if new.mase > NO_WORSE * light.mase:
        return f"its median errs more (MASE {new.mase:.3g}) than the light forecaster's ({light.mase:.3g})"
    if not HONEST_80[0] <= new.coverage_80 <= HONEST_80[1] or new.coverage_98 < HONEST_98:
        return f"its bands of 80 % and 98 % held {new.coverage_80:.0%} and {new.coverage_98:.0%} of what came"
    if champion is not None and new.quantile_loss > BETTER * champion.quantile_loss:
        return (
            f"its quantile loss {new.quantile_loss:.4g} does not beat the present model's {champion.quantile_loss:.4g}"
        )
    return ""
