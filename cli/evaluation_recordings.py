"""How well a recording with its truth is judged by the whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cli.progress import Progress
from cli.replay import Replay, step_ns
from cli.settings import read
from coldaisle.errors import ConfigError
from coldaisle.store.recording import Recording
from pipeline.evaluation import Evaluation


class RecordingMarks(NamedTuple):
    """The marks of one recording."""

    name: str
    marks: Evaluation

    def to_json(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"recording": self.name, **self.marks.to_json()}

    @property
    def false_per_day(self) -> float:
        """False incidents a day."""
        return len(self.marks.false_incidents) * 86_400.0 / max(self.marks.span_seconds, 1.0)


def judge_recording(path: Path, config: Path | None) -> RecordingMarks:
    """Replay a recording and hold its incidents against its truth. Raises ConfigError, also where it has none."""
    recording = Recording(path)
    if not recording.truth():
        raise ConfigError(f"{path}: has no truth.jsonl to judge by; `coldaisle replay` shows incidents")
    replay = Replay(recording, read(config))
    replay.run(step_ns(recording), Progress("replay", quiet=True))
    marks = replay.evaluation()
    if marks is None:
        raise AssertionError("a recording with truth has marks")
    return RecordingMarks(path.name, marks)


def recordings_text(recordings: Sequence[RecordingMarks]) -> str:
    """Return a table of recordings."""
    lines = [
        f"{'recordings':24}{'precision':>10}{'recall':>8}{'suspect':>9}{'delay':>9}{'false/day':>11}{'found':>10}",
    ]
    for one in recordings:
        marks, delay = one.marks, one.marks.median_delay_seconds()
        lines.append(
            f"{one.name[:23]:24}{_share(marks.precision):>10}{_share(marks.recall):>8}{_share(marks.suspect_accuracy):>9}"
            f"{'–' if delay is None else f'{delay / 60:.1f} min':>9}{one.false_per_day:>11.2f}"
            f"{f'{len(marks.found)}/{len(marks.findings)}':>10}"
        )
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
