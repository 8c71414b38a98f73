"""Draws what was and is expected, as bands behind lines; pure functions of data, like all figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from coldaisle.expected import Expected
from coldaisle.store import Line
from dashboard import figures, words
from dashboard.theme import Palette

_FAR = 0.5
"""The 98 % band is drawn beyond all else by no more than this share of the rest, else it would flatten the line."""
_BANDS = ((0, 4, 0.09), (1, 3, 0.17))
"""Quantiles between which is shaded, and how much: 98 % faint, 80 % over it."""


class Crossing(NamedTuple):
    """A limit, in the metric's unit, and when (Unix ns) it is passed: sooner with 10 %, 50 % and at the latest."""

    limit: float
    low: int
    median: int
    high: int


def behind(
    figure: go.Figure,
    lines: Sequence[Line],
    told: Sequence[Expected],
    names: Sequence[str],
    colours: Palette,
    now: int,
) -> None:
    """
    Draw ``told`` behind the ``lines`` of a figure of :func:`figures.explore`, each in the shade of its line.

    Shaded are 80 % and, fainter, 98 %; the median is a thin dashed line over it. What is ahead begins at
    ``now`` (Unix ns).
    """  # fmt: skip
    divisor, symbol = figures.scale_of(lines, lines[0].series.metric)
    shades = (colours.muted,) if len(lines) == 1 else (colours.accent, colours.ink, colours.muted)
    areas: list[dict[str, Any]] = []
    medians: list[dict[str, Any]] = []
    for number, one in enumerate(told):
        shade, name = shades[number % len(shades)], names[number] if number < len(names) else ""
        areas += [_area(one, low, high, divisor, figures.tint(shade, much)) for low, high, much in _BANDS]
        medians.append(_median(one, divisor, symbol, colours.ink if len(lines) == 1 else shade, name))
    figure.add_traces(areas)
    figure.data = (*figure.data[-len(areas) :], *figure.data[: -len(areas)])
    figure.add_traces(medians)  # over the lines: a line that is dense would hide what it is measured by
    _hold(figure, lines, told, divisor)
    last = max((int(one.timestamps[-1]) for one in told if len(one.timestamps)), default=now)
    if last > now:
        _forecast(figure, now, colours)
        first = figure.layout.xaxis.range[0] if figure.layout.xaxis.range else None
        if first is not None:
            figure.update_xaxes(range=[first, last / 1e6])


def toward(
    line: Line, one: Expected | None, crossing: Crossing, now: int, colours: Palette, zone: tzinfo = UTC
) -> go.Figure:
    """Return a small picture of a limit in reach: the recent past, the band ahead, the limit, and when it is passed."""
    divisor, symbol = figures.scale_of([line], line.series.metric, crossing.limit)
    figure = figures.base(colours, margin={"l": 8, "r": 12, "t": 8, "b": 8}, hovermode="closest", height=180)
    told = [] if one is None else [_ahead(one)]
    for ahead in told:
        for low, high, much in _BANDS:
            figure.add_trace(_area(ahead, low, high, divisor, figures.tint(colours.muted, much)))
        figure.add_trace(_median(ahead, divisor, symbol, colours.muted, ""))
    times, values = figures.with_gaps(line.timestamps, line.values)
    figure.add_scatter(
        x=figures.times(times), y=values / divisor, mode="lines", connectgaps=False, name="observed",
        line={"width": 1.75, "color": colours.accent},
        hovertemplate=f"<b>%{{y:.4~g}} {symbol}</b> · %{{x|%H:%M:%S}}<extra></extra>",
    )  # fmt: skip
    limit = crossing.limit / divisor
    figure.add_hline(
        y=limit, line={"width": 1, "color": colours.critical, "dash": "dot"},
        annotation={
            "text": f"limit {words.number(limit)} {symbol}", "xanchor": "left", "x": 0,
            "font": {"size": 11, "color": colours.critical},
        },
    )  # fmt: skip
    when = [words.time_of_day(at, zone)[:5] for at in crossing[1:]]
    figure.add_scatter(
        x=figures.times([crossing.low, crossing.high]), y=[limit, limit], mode="lines", name="passed",
        line={"width": 5, "color": figures.tint(colours.critical, 0.45)}, hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    figure.add_scatter(
        x=figures.times([crossing.median]), y=[limit], mode="markers", name="passed about", cliponaxis=False,
        marker={"symbol": "diamond", "size": 10, "color": colours.critical},
        hovertemplate=f"<b>passed about {when[1]}</b><br>between {when[0]} and {when[2]}<extra></extra>",
    )  # fmt: skip
    figures.axes(figure, colours, symbol)
    first = int(line.timestamps[0]) if len(line.timestamps) else now
    figure.update_xaxes(range=figures.times([first, max(crossing.high, now)]).tolist())
    _forecast(figure, now, colours)
    _hold(figure, [line], told, divisor, limit)
    return figure


def _ahead(one: Expected) -> Expected:
    """Return what lies ahead alone, begun at the last reading itself."""
    at = slice(max(0, one.ahead - 1), None)
    quantiles, observed = one.quantiles[at].copy(), one.observed[at]
    quantiles[:1] = observed[:1, None]
    return one._replace(timestamps=one.timestamps[at], quantiles=quantiles, observed=observed, ahead=1)


def _area(one: Expected, low: int, high: int, divisor: float, colour: str) -> dict[str, Any]:
    """Return the area between two quantiles; where nothing is told, it is broken."""
    at = figures.times(one.timestamps)
    bottom, top = one.quantiles[:, low] / divisor, one.quantiles[:, high] / divisor
    known = np.flatnonzero(np.isfinite(bottom) & np.isfinite(top))
    x, y = [], []
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if len(known) else ():
        x += [at[part], at[part][::-1], [np.nan]]
        y += [bottom[part], top[part][::-1], [np.nan]]
    return {
        "type": "scatter", "x": np.concatenate([[], *x]), "y": np.concatenate([[], *y]),
        "mode": "lines", "fill": "toself", "fillcolor": colour,
        "line": {"width": 0.5, "color": colour}, "hoverinfo": "skip", "showlegend": False, "connectgaps": False,
        "name": "98 % band" if low == 0 else "80 % band",
    }  # fmt: skip


def _median(one: Expected, divisor: float, symbol: str, colour: str, name: str) -> dict[str, Any]:
    shown = one.quantiles / divisor
    said = f"<br>{name}" if name else ""
    return {
        "type": "scatter", "x": figures.times(one.timestamps), "y": shown[:, 2], "mode": "lines", "name": "expected",
        "line": {"width": 1, "color": colour, "dash": "dash"}, "showlegend": False, "connectgaps": False,
        "customdata": shown,
        "hovertemplate": f"expected <b>%{{y:.4~g}} {symbol}</b> · %{{x|%H:%M:%S}}"
        f"<br>80 %: %{{customdata[1]:.4~g}} to %{{customdata[3]:.4~g}}"
        f"<br>98 %: %{{customdata[0]:.4~g}} to %{{customdata[4]:.4~g}}{said}<extra></extra>",
    }  # fmt: skip


def _hold(
    figure: go.Figure, lines: Sequence[Line], told: Sequence[Expected], divisor: float, limit: float | None = None
) -> None:
    """Keep what is far from flattening what is meant: the line, the 80 % band and a limit are always seen whole."""
    meant = [line.values / divisor for line in lines] + [one.quantiles[:, 1:4].ravel() / divisor for one in told]
    near = np.concatenate([*meant, [] if limit is None else [limit]])
    far = np.concatenate([[], *(one.quantiles[:, (0, 4)].ravel() / divisor for one in told)])
    near, far = near[np.isfinite(near)], far[np.isfinite(far)]
    if not len(near) or not len(far):
        return
    low, high = float(near.min()), float(near.max())
    room = _FAR * (high - low)
    if room > 0 and (far.min() < low - room or far.max() > high + room):
        bottom, top = max(far.min(), low - room), min(far.max(), high + room)
        edge = 0.04 * (top - bottom)
        figure.update_yaxes(range=[bottom - edge, top + edge], selector={"overlaying": None})


def _forecast(figure: go.Figure, now: int, colours: Palette) -> None:
    at = now / 1e6
    figure.add_shape(
        type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line={"width": 1, "color": colours.muted, "dash": "dot"}
    )
    figure.add_annotation(
        x=at, y=1, yref="paper", xanchor="right", yanchor="top", xshift=-2, text="forecast →", showarrow=False,
        font={"size": 11, "color": colours.muted},
    )  # fmt: skip
