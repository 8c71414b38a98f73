"""Small drawings of an evaluation as inline SVG; every colour is a CSS variable, so that both themes hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10

Point = tuple[float, float]
Span = tuple[float, float]

WIDE = 960.0
"""Units across a file's picture; the page scales it."""
METRIC_TALL, STRIP_TALL, GAP = 54.0, 30.0, 10.0
LEFT = 150.0
"""Room for names."""
SQUARE, MARGIN = 300.0, 46.0
LOWEST = 1e-5
"""Where the reliability diagram ends."""


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _path(points: Sequence[Point | None]) -> str:
    """Return a path through ``points``, broken where one is missing."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{_number(point[0])} {_number(point[1])}")
        pen = "L"
    return "".join(parts)


def through_time(
    lines: Sequence[tuple[str, Sequence[float | None], Sequence[float | None]]],
    strips: Sequence[tuple[str, str, Sequence[float | None], Sequence[Span]]],
    events: Sequence[Span],
    moments: Sequence[tuple[float, str]],
) -> str:
    """
    Draw one file: its metrics, each detector's rarity beneath, labelled spans across everything.

    ``lines``: (name, least, largest) of each part of the file; ``strips``: (name, class, rarity 0..1, flagged spans);
    spans and ``moments`` (share of the length, text) are shares 0..1.
    """
    tall = GAP + len(lines) * (METRIC_TALL + GAP) + len(strips) * (STRIP_TALL + GAP) + 20
    room = WIDE - LEFT
    parts = [f'<svg viewBox="0 0 {WIDE:g} {_number(tall)}" role="img" class="file">']
    bottom = tall - 22
    for first, last in events:
        wide = max((last - first) * room, 1.5)
        parts.append(
            f'<rect class="event" x="{_number(LEFT + first * room)}" y="4" width="{_number(wide)}" '
            f'height="{_number(bottom - 4)}"/>'
        )
    top = GAP
    for name, low, high in lines:
        parts += _metric(name, low, high, top)
        top += METRIC_TALL + GAP
    for name, kind, rarity, flagged in strips:
        parts += _strip(name, kind, rarity, flagged, top)
        top += STRIP_TALL + GAP
    for share, text in moments:
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        parts.append(
            f'<text class="tick" x="{_number(LEFT + share * room)}" y="{_number(tall - 6)}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _metric(name: str, low: Sequence[float | None], high: Sequence[float | None], top: float) -> list[str]:
    known = [value for value in (*low, *high) if value is not None]
    least, most = min(known, default=0.0), max(known, default=1.0)
    reach = (most - least) or 1.0
    room, steps = WIDE - LEFT, max(len(low) - 1, 1)

    def at(place: int, value: float | None) -> Point | None:
        if value is None:
            return None
        return LEFT + place / steps * room, top + METRIC_TALL * (1 - (value - least) / reach)

    up = [at(place, value) for place, value in enumerate(high)]
    down = [at(place, value) for place, value in enumerate(low)]
    outline = [*up, *reversed(down)]
    band = "" if None in outline else f'<path class="band" d="{_path(outline)}Z"/>'
    return [
        f'<text class="name" x="0" y="{_number(top + 22)}">{escape(_short(name))}</text>',
        f'<text class="tick" x="0" y="{_number(top + 38)}">{least:.3g} to {most:.3g}</text>',
        band,
        f'<path class="metric" d="{_path(up)}"/>',
        *([] if band else [f'<path class="metric" d="{_path(down)}"/>']),
    ]


def _strip(name: str, kind: str, rarity: Sequence[float | None], flagged: Sequence[Span], top: float) -> list[str]:
    room, steps, foot = WIDE - LEFT, max(len(rarity) - 1, 1), top + STRIP_TALL
    points: list[Point | None] = [
        None if value is None else (LEFT + place / steps * room, foot - 5 - (STRIP_TALL - 6) * value)
        for place, value in enumerate(rarity)
    ]
    parts = [
        f'<text class="name" x="0" y="{_number(top + 19)}">{escape(_short(name))}</text>',
        f'<path class="axis" d="M{LEFT:g} {_number(foot - 5)}H{WIDE:g}"/>',
        f'<path class="score {kind}" d="{_path(points)}"/>',
    ]
    parts += [
        f'<rect class="flag {kind}" x="{_number(LEFT + first * room)}" y="{_number(foot - 3)}" '
        f'width="{_number(max((last - first) * room, 1.5))}" height="4"/>'
        for first, last in flagged
    ]
    return parts


def curves(told: Mapping[str, tuple[str, Sequence[Point]]], share: float | None) -> str:
    """Draw precision over recall of each detector: name -> (class, points); ``share`` = of labelled rows."""

    def at(point: Point) -> Point:
        return MARGIN + point[0] * SQUARE, 12 + (1 - point[1]) * SQUARE

    parts = [_frame("Precision over recall"), *_grid((0, 0.25, 0.5, 0.75, 1.0))]
    if share is not None:
        y = at((0, share))[1]
        parts.append(f'<path class="chance" d="M{MARGIN:g} {_number(y)}h{SQUARE:g}"/>')
    parts += [
        f'<path class="curve {kind}" d="{_path([at(point) for point in points])}"><title>{escape(name)}</title></path>'
        for name, (kind, points) in told.items()
    ]
    return "".join([*parts, _axes("recall", "precision"), "</svg>"])


def reliability(told: Mapping[str, tuple[str, Sequence[Point]]]) -> str:
    """Draw the observed share over the stated probability, both on a logarithmic scale: name -> (class, points)."""

    def at(point: Point) -> Point:
        x, y = (1 + log10(min(max(value, LOWEST), 1.0)) / -log10(LOWEST) for value in point)
        return MARGIN + x * SQUARE, 12 + (1 - y) * SQUARE

    parts = [_frame("Observed share over stated probability")]
    for decade in range(round(-log10(LOWEST)) + 1):
        x, y = at((10.0**-decade, 10.0**-decade))
        word = "1" if not decade else f"10<tspan class='power' dy='-4'>−{decade}</tspan>"
        parts += [
            f'<path class="grid" d="M{_number(x)} 12v{SQUARE:g}M{MARGIN:g} {_number(y)}h{SQUARE:g}"/>',
            f'<text class="tick" x="{_number(x)}" y="{SQUARE + 28:g}" text-anchor="middle">{word}</text>',
            f'<text class="tick" x="{MARGIN - 6:g}" y="{_number(y + 4)}" text-anchor="end">{word}</text>',
        ]
    low, high = at((LOWEST, LOWEST)), at((1.0, 1.0))
    twice, half = at((LOWEST, 2 * LOWEST))[1], at((0.5, 1.0))[0]
    right = at((1.0, 0.5))[1]
    foot = at((2 * LOWEST, LOWEST))[0]
    corners = [low, (low[0], twice), (half, high[1]), high, (high[0], right), (foot, low[1])]
    parts += [
        f'<path class="fair" d="{_path(corners)}Z"/>',
        f'<path class="chance" d="{_path([low, high])}"/>',
    ]
    for name, (kind, points) in told.items():
        seen = [at(point) for point in points if point[1] > 0]
        parts.append(f'<path class="curve {kind}" d="{_path(seen)}"><title>{escape(name)}</title></path>')
        parts += [f'<circle class="dot {kind}" cx="{_number(x)}" cy="{_number(y)}" r="3"/>' for x, y in seen]
    return "".join([*parts, _axes("stated", "observed"), "</svg>"])


def _frame(title: str) -> str:
    return (
        f'<svg viewBox="0 0 {SQUARE + MARGIN + 14:g} {SQUARE + 54:g}" role="img" class="square">'
        f"<title>{escape(title)}</title>"
    )


def _grid(shares: Sequence[float]) -> list[str]:
    parts = []
    for share in shares:
        x, y = MARGIN + share * SQUARE, 12 + (1 - share) * SQUARE
        parts += [
            f'<path class="grid" d="M{_number(x)} 12v{SQUARE:g}M{MARGIN:g} {_number(y)}h{SQUARE:g}"/>',
            f'<text class="tick" x="{_number(x)}" y="{SQUARE + 28:g}" text-anchor="middle">{share:g}</text>',
            f'<text class="tick" x="{MARGIN - 6:g}" y="{_number(y + 4)}" text-anchor="end">{share:g}</text>',
        ]
    return parts


def _axes(across: str, up: str) -> str:
    middle = 12 + SQUARE / 2
    return (
        f'<text class="axis-name" x="{MARGIN + SQUARE / 2:g}" y="{SQUARE + 48:g}" text-anchor="middle">{across}</text>'
        f'<text class="axis-name" transform="rotate(-90 11 {middle:g})" x="11" y="{middle:g}" '
        f'text-anchor="middle">{up}</text>'
    )


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"
