"""How many requests reach an inference service at an instant."""

from __future__ import annotations

from typing import Final

import numpy as np

from coldaisle.clock import DAY, HOUR, MINUTE

# Computed by us from Microsoft's "AzureLLMInferenceTrace_conv" (Azure public data set, 16 November 2023,
# CC BY 4.0): requests of each whole minute divided by the mean of the hour. The trace spans that one hour.
_MINUTES: Final = np.array([
    0.73, 0.82, 1.08, 1.02, 0.99, 0.79, 0.83, 0.90, 0.95, 0.91, 0.94, 0.94, 1.04, 1.01, 0.86, 0.85, 0.90, 0.98, 1.10,
    1.05, 1.09, 1.12, 1.26, 1.26, 1.22, 1.18, 1.34, 1.56, 1.45, 1.35, 1.48, 1.52, 1.43, 1.17, 1.27, 1.41, 1.34, 0.99,
    0.97, 0.99, 1.07, 1.09, 1.02, 1.03, 1.08, 1.16, 0.93, 0.76, 0.73, 0.77, 0.85, 0.83, 0.84, 0.76, 0.75, 0.80, 0.75,
])  # fmt: skip
# The trace does not show a day. This shape is our assumption: a quiet night, two working peaks (UTC hours).
_HOURS: Final = np.array([
    0.48, 0.42, 0.38, 0.36, 0.38, 0.46, 0.60, 0.80, 1.02, 1.20, 1.28, 1.26, 1.18, 1.24, 1.32, 1.34, 1.28, 1.18, 1.08,
    1.00, 0.92, 0.82, 0.70, 0.58,
])  # fmt: skip


def arrival_factor(now: int, offset_minutes: float = 0.0) -> float:
    """
    Return the arrivals at ``now`` (Unix ns) relative to the mean of the day, 1 = mean.

    ``offset_minutes`` shifts the minute pattern, so that two services do not breathe as one.
    """
    hour = (now % DAY) / HOUR
    minute = now / MINUTE + offset_minutes
    daily = float(np.interp(hour, np.arange(25), np.append(_HOURS, _HOURS[0])))
    position = minute % len(_MINUTES)
    wave = float(np.interp(position, np.arange(len(_MINUTES) + 1), np.append(_MINUTES, _MINUTES[0])))
    return daily * wave
