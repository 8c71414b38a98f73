"""The marks of many files as tables of text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cli.evaluation_marks import FileMarks, Mark, Told
from coldaisle.clock import DAY, HOUR, MINUTE, SECOND
from models.marks import STATED


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a detector's marks over the files of a set; each mark over the files that have it."""

    detector: str
    files: int
    vus_pr: float | None
    auc_pr: float | None
    event_f1: float | None
    oracle_event_f1: float | None
    alarm_f1: float | None
    delay_seconds: float | None  # the median of the files' medians
    false_per_day: float | None
    found: int
    events: int


@dataclass(frozen=True, slots=True)
class Honest:
    """How often a detector's tail probability was at most ``stated`` on rows that nobody labelled."""

    stated: float
    observed: float | None
    rows: int


def groups(files: Iterable[FileMarks]) -> dict[str, list[FileMarks]]:
    """Return the files of each set, in order."""
    found: dict[str, list[FileMarks]] = {}
    for one in files:
        found.setdefault(one.group, []).append(one)
    return found


def by_detector(files: Sequence[FileMarks]) -> dict[str, list[Told]]:
    """Return what each detector did on the files that it judged."""
    found: dict[str, list[Told]] = {}
    for one in files:
        for told in one.told:
            found.setdefault(told.detector, []).append(told)
    return found


def means(files: Sequence[FileMarks]) -> list[Mean]:
    """Return one row a detector."""
    return [_mean(name, [told.mark for told in judged]) for name, judged in by_detector(files).items()]


def _mean(detector: str, marks: Sequence[Mark]) -> Mean:
    def average(pick: Callable[[Mark], float | None]) -> float | None:
        known = [value for mark in marks if (value := pick(mark)) is not None]
        return sum(known) / len(known) if known else None

    delays = sorted(mark.delay_seconds for mark in marks if mark.delay_seconds is not None)
    return Mean(
        detector=detector,
        files=len(marks),
        vus_pr=average(lambda mark: mark.vus_pr),
        auc_pr=average(lambda mark: mark.auc_pr),
        event_f1=average(lambda mark: mark.event_f1),
        oracle_event_f1=average(lambda mark: mark.oracle_event_f1),
        alarm_f1=average(lambda mark: mark.alarm_f1),
        delay_seconds=delays[len(delays) // 2] if delays else None,
        false_per_day=average(lambda mark: mark.false_per_day),
        found=sum(mark.found for mark in marks),
        events=sum(mark.events for mark in marks),
    )


def reliability_of(judged: Sequence[Told]) -> list[Honest]:
    """Return the reliability of one detector over all rows of its files."""
    found = []
    for number, stated in enumerate(STATED):
        rows = sum(told.stated[number].rows for told in judged)
        beyond = sum(told.stated[number].beyond for told in judged)
        found.append(Honest(stated, beyond / rows if rows else None, rows))
    return found


def text(files: Sequence[FileMarks], budget: float, each: bool) -> str:
    """Return the tables of every set."""
    lines: list[str] = []
    for group, members in groups(files).items():
        days = sum(one.days for one in members)
        about = f"{group}: {counted(len(members), 'file')}, {days:,.1f} days"
        lines += ["", f"{about}, budget {budget:g} false events a day and file", "", _HEADING]
        lines += [_line(row.detector, row) for row in means(members)]
        if each:
            for one in members:
                about = f"{one.rows:,} rows of {counted(one.metrics, 'metric')}, {counted(len(one.events), 'event')}"
                lines += ["", f"  {one.name}: {about}"]
                lines += [_line(f"  {told.detector}", told.mark) for told in one.told]
        lines += ["", "Reliability: the share of unlabelled rows at most as likely as stated", "", _stated_heading()]
        lines += [_stated_line(name, judged) for name, judged in by_detector(members).items()]
    lines += ["", _NOTE]
    return "\n".join(lines[1:])


_NOTE = (
    "VUS-PR, AUC-PR and the oracle's event F1 judge the score and use labels to choose thresholds; event F1, alarm F1, "
    "delay\nand false alarms judge the flags at the budget, chosen without labels."
)
_WIDE = 20
_HEADING = (
    f"{'':{_WIDE}}{'VUS-PR':>8}{'AUC-PR':>8}{'oracle F1':>11}{'event F1':>10}{'alarm F1':>10}{'delay':>10}"
    f"{'false/day':>11}{'found':>10}{'files':>7}"
)


def _line(name: str, row: Mean | Mark) -> str:
    cells = [
        f"{_number(row.vus_pr):>8}{_number(row.auc_pr):>8}{_number(row.oracle_event_f1):>11}",
        f"{_number(row.event_f1):>10}{_number(row.alarm_f1):>10}{lasting(row.delay_seconds):>10}",
        f"{_number(row.false_per_day):>11}{f'{row.found}/{row.events}':>10}",
        f"{row.files:>7}" if isinstance(row, Mean) else "",
    ]
    return f"{name:{_WIDE}}" + "".join(cells)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def counted(count: int, word: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def lasting(seconds: float | None) -> str:
    """Return a span as people say it; ``–`` where there is none."""
    if seconds is None:
        return "–"
    for unit, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds * SECOND >= 2 * unit:
            return f"{seconds * SECOND / unit:.0f} {word}"
    return f"{seconds:.0f} s"


def _stated_heading() -> str:
    return f"{'stated':{_WIDE}}" + "".join(f"{stated:>10g}" for stated in STATED) + f"{'rows':>12}"


def _stated_line(name: str, judged: Sequence[Told]) -> str:
    rows = reliability_of(judged)
    shares = "".join(f"{'–' if one.observed is None else format(one.observed, '.2g'):>10}" for one in rows)
    return f"{name:{_WIDE}}{shares}{rows[0].rows:>12,}"


def document(files: Sequence[FileMarks], budget: float) -> dict[str, Any]:
    """Return what ``--json`` prints of files."""
    sets = []
    for group, members in groups(files).items():
        judged = by_detector(members)
        sets.append(
            {
                "set": group,
                "files": [_file(one) for one in members],
                "means": [_plain(row) for row in means(members)],
                "reliability": {name: [_plain(row) for row in reliability_of(told)] for name, told in judged.items()},
            }
        )
    return {"budget_false_events_per_day": budget, "uses_labels": ["vus_pr", "auc_pr", "oracle_event_f1"], "sets": sets}


def _plain(row: Mean | Honest) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _file(one: FileMarks) -> dict[str, Any]:
    return {
        "name": one.name,
        "rows": one.rows,
        "metrics": one.metrics,
        "days": one.days,
        "events": len(one.events),
        "detectors": {told.detector: told.mark._asdict() for told in one.told},
    }
