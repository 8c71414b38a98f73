"""The generated page is what the catalogue says."""

from __future__ import annotations

from pathlib import Path

from cli.metrics_page import page


def test_the_page_of_metrics_is_not_stale() -> None:
    written = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m cli.metrics_page > docs/metrics.md"
