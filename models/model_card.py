"""The page about a stored model that people read: what it is for, what it learnt from, how good it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldaisle.clock import DAY, rfc3339

PURPOSES = {
    "isolation_forest": "Says how unusual one entity (a GPU, a node, a link) looks, all its features taken together: "
    "how far each metric is from its own level and from its peers. It scores; rules and the alert budget decide.",
    "nhits": "Forecasts a metric for the next steps as quantiles, for bands and for the time until a limit is reached "
    "(N-HiTS).",
    "tft": "Forecasts a metric for the next steps as quantiles, for bands and for the time until a limit is reached "
    "(Temporal Fusion Transformer).",
}
_MOST_METRICS = 60


def describe(
    *,
    kind: str,
    version: str,
    created_at: int,
    data_from: int,
    data_to: int,
    metrics: tuple[str, ...],
    parameters: Mapping[str, Any],
    scores: Mapping[str, float],
    seed: int,
) -> str:
    """Return Markdown. Times are Unix ns."""
    lines = [f"# {kind} {version}", "", PURPOSES.get(kind, f"A model of kind {kind}."), ""]
    lines += ["| | |", "|---|---|"]
    lines += [
        f"| made | {rfc3339(created_at)} |",
        f"| learnt from | {rfc3339(data_from)} to {rfc3339(data_to)} ({(data_to - data_from) / DAY:.1f} days) |",
        f"| inputs | {len(metrics)} |",
        f"| seed | {seed} |",
        "",
        "## Scores on later data",
        "",
    ]
    if scores:
        lines += ["Measured on data from after what it learnt from.", "", "| score | value |", "|---|---|"]
        lines += [f"| {_plain(name)} | {value:.6g} |" for name, value in sorted(scores.items())]
    else:
        lines += ["None was measured: there was no later data. It may not replace another model."]
    lines += ["", "## Inputs, in order", ""]
    lines += [f"- `{_plain(name)}`" for name in metrics[:_MOST_METRICS]]
    if len(metrics) > _MOST_METRICS:
        lines.append(f"- and {len(metrics) - _MOST_METRICS} more, see model.json")
    lines += ["", "## Parameters", "", "| parameter | value |", "|---|---|"]
    lines += [f"| {_plain(name)} | {_short(value)} |" for name, value in sorted(parameters.items())]
    lines += [
        "",
        "The weights are plain arrays (safetensors); loading them runs no code. model.json holds their SHA-256.",
    ]
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    text = _plain(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(text: str) -> str:
    """Names come from data; they must not draw on the page."""
    return text.replace("\n", " ").replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
