"""Writes the marks of an evaluation as a page with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cli.evaluation_marks import FileMarks, Mark, Told
from cli.evaluation_recordings import RecordingMarks
from cli.evaluation_table import Mean, by_detector, counted, groups, lasting, means, reliability_of
from coldaisle.clock import DAY, rfc3339
from coldaisle.errors import ConfigError
from dashboard.evaluation_report import EvaluationPage, FilePicture, SetPart, Table, html
from models.marks import STATED

_HEADING = ("", "VUS-PR", "AUC-PR", "oracle F1", "event F1", "alarm F1", "delay", "false/day", "found")
_MEAN_HEADING = (*_HEADING, "files")
_JUDGED = 5
"""The columns of which more is better, after the name."""
_MOMENTS = 6
_CURVE_POINTS = 60


def write_page(path: Path, files: Sequence[FileMarks], recordings: Sequence[RecordingMarks], budget: float) -> None:
    """Write the page. Raises ConfigError where ``path`` cannot be written."""
    sets = [_set(name, members, budget) for name, members in groups(files).items()]
    about = (
        f"{counted(len(files), 'file')}, {sum(one.days for one in files):,.0f} days. Budget {budget:g} false events "
        "a day and file; one configuration for all; labels only for judging."
    )
    page = EvaluationPage("Coldaisle: what each detector is worth", about, sets, _recordings(recordings))
    try:
        path.write_text(html(page), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _set(name: str, members: Sequence[FileMarks], budget: float) -> SetPart:
    judged = by_detector(members)
    days = sum(one.days for one in members)
    events = sum(len(one.events) for one in members)
    labelled = [sum(last - first for first, last in one.events) for one in members]
    return SetPart(
        name=name,
        about=f"{counted(len(members), 'file')}, {counted(events, 'labelled event')}, {days:,.0f} days",
        means=_table([(row.detector, row) for row in means(members)]),
        stated=_stated(judged),
        curves=_curves(judged),
        share=sum(labelled) / len(labelled) if any(labelled) else None,
        reliability={
            detector: [(one.stated, one.observed or 0.0) for one in reliability_of(told)]
            for detector, told in judged.items()
            if detector != "random"  # noise has no tail to be honest about
        },
        files=[_file(one) for one in members],
    )


def _curves(judged: Mapping[str, Sequence[Told]]) -> dict[str, list[tuple[float, float]]]:
    """Return the mean curve of each detector: the precision at each recall, averaged over the files with events."""
    grid = np.linspace(0.0, 1.0, _CURVE_POINTS)
    found = {}
    for detector, told in judged.items():
        each = [np.array(one.curve) for one in told if one.curve]
        if each:
            mean = np.mean([np.interp(grid, curve[:, 0], curve[:, 1]) for curve in each], axis=0)
            found[detector] = [(float(recall), float(precision)) for recall, precision in zip(grid, mean, strict=True)]
    return found


def _table(rows: Sequence[tuple[str, Mean | Mark]]) -> Table:
    numbers = [_numbers(row) for _, row in rows]
    best = set()
    for column in range(_JUDGED):
        known = [row[column] for row in numbers]
        most = max((value for value in known if value is not None), default=None)
        best |= {(row, column + 1) for row, value in enumerate(known) if most and value == most}
    told = tuple((name, *_cells(row)) for name, row in rows)
    of_files = any(isinstance(row, Mean) for _, row in rows)
    return Table(_MEAN_HEADING if of_files else _HEADING, told, frozenset(best))


def _numbers(row: Mean | Mark) -> tuple[float | None, ...]:
    return row.vus_pr, row.auc_pr, row.oracle_event_f1, row.event_f1, row.alarm_f1


def _cells(row: Mean | Mark) -> tuple[str, ...]:
    shares = tuple("–" if value is None else f"{value:.3f}" for value in _numbers(row))
    files = (str(row.files),) if isinstance(row, Mean) else ()
    false = "–" if row.false_per_day is None else f"{row.false_per_day:.2f}"
    return (*shares, lasting(row.delay_seconds), false, f"{row.found}/{row.events}", *files)


def _stated(judged: Mapping[str, Sequence[Told]]) -> Table:
    rows = []
    for detector, told in judged.items():
        shares = reliability_of(told)
        cells = ("–" if one.observed is None else f"{one.observed:.2g}" for one in shares)
        rows.append((detector, *cells, f"{shares[0].rows:,}"))
    return Table(("stated", *(f"{stated:g}" for stated in STATED), "rows"), tuple(rows))


def _file(one: FileMarks) -> FilePicture:
    return FilePicture(
        name=one.name,
        about=f"{one.rows:,} rows of {counted(one.metrics, 'metric')}, {one.days:,.1f} days, "
        f"{counted(len(one.events), 'labelled event')}",
        table=_table([(told.detector, told.mark) for told in one.told]),
        lines=one.lines,
        strips=[(told.detector, *told.strip) for told in one.told if told.detector != "random"],
        events=one.events,
        moments=_moments(one.first_ns, one.last_ns),
    )


def _moments(first: int, last: int) -> list[tuple[float, str]]:
    reach = max(last - first, 1)
    letters = slice(5, 10) if reach > 3 * DAY else slice(5, 16)
    shares = [number / (_MOMENTS - 1) for number in range(_MOMENTS)]
    return [(share, rfc3339(first + round(share * reach))[letters].replace("T", " ")) for share in shares]


def _recordings(recordings: Sequence[RecordingMarks]) -> Table | None:
    if not recordings:
        return None
    rows = []
    for one in recordings:
        marks = one.marks
        shares = ("–" if value is None else f"{value:.3f}" for value in (marks.precision, marks.recall))
        delay, found = lasting(marks.median_delay_seconds()), f"{len(marks.found)}/{len(marks.findings)}"
        rows.append((one.name, *shares, delay, f"{one.false_per_day:.2f}", found))
    return Table(("", "precision", "recall", "delay", "false/day", "found"), tuple(rows))
