"""The page of an evaluation: tables, curves and every file drawn, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dashboard import evaluation_svg as svg
from dashboard.evaluation_style import STYLE, THEME_SCRIPT
from dashboard.theme import DARK, FONT, LIGHT, MONO, Palette

KINDS = ("k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7")
"""Classes of lines: colour and dashes differ, so that no one needs colour to tell them apart."""


@dataclass(frozen=True)
class Table:
    """A table with a heading; the first cell of each row is its name. ``best`` = (row, column) of those to stress."""

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class FilePicture:
    """One file, as :func:`dashboard.evaluation_svg.through_time` draws it; strips here are without their class."""

    name: str
    about: str
    table: Table
    lines: Sequence[tuple[str, Sequence[float | None], Sequence[float | None]]]
    strips: Sequence[tuple[str, Sequence[float | None], Sequence[svg.Span]]]
    events: Sequence[svg.Span]
    moments: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class SetPart:
    """One set of files: the means, the reliability, the curves by detector, and the files."""

    name: str
    about: str
    means: Table
    stated: Table
    curves: Mapping[str, Sequence[svg.Point]]
    share: float | None  # of labelled rows
    reliability: Mapping[str, Sequence[svg.Point]]
    files: Sequence[FilePicture]


@dataclass(frozen=True)
class EvaluationPage:
    """Everything on the page."""

    title: str
    about: str
    sets: Sequence[SetPart]
    recordings: Table | None = None


def html(page: EvaluationPage) -> str:
    """Return the page; it follows the reader's light or dark and asks nobody for anything."""
    names = list(dict.fromkeys(name for one in page.sets for name in (*one.curves, *one.reliability)))
    kinds = {name: KINDS[number % len(KINDS)] for number, name in enumerate(names)}
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title><style>{_variables()}{STYLE}</style></head><body><main>",
        '<header><div><h1>', escape(page.title), "</h1>",
        f'<p class="muted">{escape(page.about)}</p></div>',
        '<button id="theme" type="button" aria-label="light or dark">◐</button></header>',
    ]  # fmt: skip
    if len(page.sets) > 1:
        links = " ".join(f'<a href="#set-{number}">{escape(one.name)}</a>' for number, one in enumerate(page.sets))
        parts.append(f"<nav>{links}</nav>")
    for number, one in enumerate(page.sets):
        parts += _set(one, number, kinds)
    if page.recordings is not None:
        parts += ["<section><h2>Recordings</h2>", _table(page.recordings), "</section>"]
    return "".join([*parts, "</main><script>", THEME_SCRIPT, "</script></body></html>\n"])


def _set(one: SetPart, number: int, kinds: Mapping[str, str]) -> list[str]:
    curves = {name: (kinds[name], points) for name, points in one.curves.items()}
    honest = {name: (kinds[name], points) for name, points in one.reliability.items()}
    parts = [
        f'<section id="set-{number}"><h2>{escape(one.name)}</h2><p class="muted">{escape(one.about)}</p>',
        _table(one.means),
        '<p class="note">VUS-PR, AUC-PR and the oracle’s F1 judge the score and choose thresholds with the labels in '
        "hand. Event F1, alarm F1, delay and false alarms judge the flags at the budget, without labels.</p>",
    ]
    legend = "".join(
        f'<li><svg viewBox="0 0 28 8" class="key"><path class="curve {kinds[name]}" d="M0 4h28"/></svg>'
        f"{escape(name)}</li>"
        for name in kinds
        if name in curves or name in honest
    )
    parts.append(f'<ul class="legend">{legend}</ul><div class="pair">')
    if curves:
        parts += [
            "<figure>", svg.curves(curves, one.share),
            "<figcaption>Precision over recall, mean of the files. The dotted line is chance.</figcaption></figure>",
        ]  # fmt: skip
    parts += [
        "<figure>", svg.reliability(honest),
        "<figcaption>Reliability on unlabelled rows: on the diagonal a probability is what it says, "
        "in the band within a factor of two, above it cries wolf.</figcaption></figure></div>",
        "<details><summary>Reliability in numbers</summary>", _table(one.stated), "</details>",
        "<h3>Each file</h3>",
    ]  # fmt: skip
    for place, each in enumerate(one.files):
        strips = [(name, kinds.get(name, KINDS[0]), score, flags) for name, score, flags in each.strips]
        parts += [
            f'<details class="one"{" open" if place < 2 else ""}><summary><b>{escape(each.name)}</b> ',
            f'<span class="muted">{escape(each.about)}</span></summary>',
            svg.through_time(each.lines, strips, each.events, each.moments), _table(each.table), "</details>",
        ]  # fmt: skip
    return [*parts, "</section>"]


def _table(table: Table) -> str:
    heading = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.heading)
    rows = []
    for number, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for column, cell in enumerate(row[1:], start=1):
            best = ' class="best"' if (number, column) in table.best else ""
            cells.append(f"<td{best}>{escape(cell)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{heading}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _variables() -> str:
    light, dark = _colours(LIGHT), _colours(DARK)
    return (
        f":root{{--font:{FONT};--mono:{MONO};{light}color-scheme:light}}"
        f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}color-scheme:dark}}}}"
        f":root[data-theme=dark]{{{dark}color-scheme:dark}}"
    )


def _colours(theme: Palette) -> str:
    names = (*theme.text(), "ground", "surface", "raised", "line", "band")
    return "".join(f"--{name}:{getattr(theme, name)};" for name in names)
