"""Compares a frame with a golden file in the Prometheus text format; COLDAISLE_GOLDEN=1 writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from coldaisle.frame import Frame
from coldaisle.selfstats import prometheus_text
from collectors.scrape import OWN_METRICS


def text_of(frame: Frame) -> str:
    """Return the frame without the runner's own samples."""
    rows = sorted(
        (s.series.metric, s.series.labels, s.value) for s in frame.samples() if s.series.metric not in OWN_METRICS
    )
    return prometheus_text(rows, {})


def golden(path: Path, text: str) -> str:
    """Return what ``path`` holds."""
    if os.environ.get("COLDAISLE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")
