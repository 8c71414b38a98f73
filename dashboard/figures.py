"""Figures are pure functions of data: no store, no callback, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from coldaisle.anomaly import Window
from coldaisle.catalogue import Drive, Kind, metric_of
from coldaisle.event import Event
from coldaisle.store import Line
from coldaisle.topology import name_of
from dashboard import words
from dashboard.theme import FONT, Palette

_SHAPES = ("solid", "dash", "dot", "longdash", "dashdot")
_LINES_IN_COLOUR = 6
_MOST_EVENTS = 40
_MOST_RULED = 8  # events with a line through the chart; more would hide it


def base(colours: Palette, **layout: Any) -> go.Figure:
    """Return an empty figure in the house's look."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": colours.muted},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        showlegend=False,
        hoverlabel={
            "bgcolor": colours.raised,
            "bordercolor": colours.line,
            "font": {"family": FONT, "size": 12, "color": colours.ink},
            "align": "left",
        },
    )
    figure.update_layout(**layout)
    return figure


def times(timestamps: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return times in milliseconds since 1970, which plotly draws in the time zone of the browser: the reader's."""
    return np.asarray(timestamps, dtype=np.int64).astype(np.float64) / 1e6


def axes(figure: go.Figure, colours: Palette, y_title: str) -> None:
    """Give a figure over time the axes of the house."""
    line = {"showline": False, "zeroline": False, "gridcolor": colours.line, "gridwidth": 1, "ticks": ""}
    figure.update_xaxes(
        **line,
        showgrid=False,
        type="date",
        tickfont={"size": 11},
        automargin=True,
        nticks=6,
        tickformatstops=[
            {"dtickrange": [None, 30_000], "value": "%H:%M:%S"},
            {"dtickrange": [30_000, 80_000_000], "value": "%H:%M"},
            {"dtickrange": [80_000_000, None], "value": "%d %b"},
        ],
    )
    figure.update_yaxes(
        **line, tickfont={"size": 11}, automargin=True, nticks=5, title={"text": y_title, "font": {"size": 11}}
    )


def evidence(window: Window, name: str, started_at: int, colours: Palette, tone: str, zone: tzinfo = UTC) -> go.Figure:
    """
    Return what was seen beside what was expected, as frozen when the finding was made.

    Observed in the severity's colour, the expected band shaded, siblings grey, the limit as a line, the
    start as a mark, gaps as gaps. ``name`` is the entity in words, ``tone`` the colour of its line.
    """
    divisor, symbol = words.scale(window.unit, _largest(window.observed))
    figure = base(colours, margin={"l": 8, "r": 12, "t": 8, "b": 8}, hovermode="x unified", height=240)
    at = times(window.timestamps)

    def scaled(values: Sequence[float | None]) -> list[float | None]:
        return [None if v is None or not math.isfinite(v) else v / divisor for v in values]

    if len(window.low) == len(at) == len(window.high) and len(at):
        figure.add_scatter(x=at, y=scaled(window.low), mode="lines", line={"width": 0}, hoverinfo="skip", name="low")
        figure.add_scatter(
            x=at,
            y=scaled(window.high),
            mode="lines",
            line={"width": 0},
            fill="tonexty",
            fillcolor=colours.band,
            hoverinfo="skip",
            name="expected band",
        )
    for peer, values in list(window.peers.items())[:32]:
        figure.add_scatter(
            x=at,
            y=scaled(values),
            mode="lines",
            line={"width": 1, "color": colours.sibling},
            name=name_of(peer) or peer,
            hoverinfo="skip",
            connectgaps=False,
        )
    if len(window.expected) == len(at):
        figure.add_scatter(
            x=at,
            y=scaled(window.expected),
            mode="lines",
            name="expected",
            connectgaps=False,
            line={"width": 1.25, "color": colours.muted, "dash": "dash"},
            hovertemplate=f"%{{y:.3~g}} {symbol}",
        )
    steps = metric_of(window.metric).drive is Drive.STATE
    few = sum(value is not None for value in window.observed) < 40
    figure.add_scatter(
        x=at,
        y=scaled(window.observed),
        mode="lines+markers" if few else "lines",
        name=name,
        connectgaps=False,
        line={"width": 2, "color": tone, "shape": "hv" if steps else "linear"},
        marker={"size": 4, "color": tone},
        hovertemplate=f"<b>%{{y:.4~g}} {symbol}</b>",
    )
    # A rule on a counter limits its rise within a span, and one on a flag its value: neither is a height here.
    known = metric_of(window.metric)
    if window.limit is not None and known.kind is not Kind.COUNTER and known.unit != "bool":
        figure.add_hline(
            y=window.limit / divisor,
            line={"width": 1, "color": colours.critical, "dash": "dot"},
            annotation={
                "text": f"limit {words.number(window.limit / divisor)} {symbol}",
                "xanchor": "left",
                "x": 0,
                "font": {"size": 11, "color": colours.critical},
            },
        )
    if len(at) and window.timestamps[0] <= started_at <= window.timestamps[-1]:
        mark(figure, started_at, f"began {words.time_of_day(started_at, zone)}", colours, zone)
    axes(figure, colours, symbol)
    return figure


def mark(figure: go.Figure, timestamp: int, text: str, colours: Palette, zone: tzinfo) -> None:
    """Mark a moment with a dotted line and words above it."""
    at = float(times([timestamp])[0])
    figure.add_shape(
        type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line={"width": 1, "color": colours.ink, "dash": "dot"}
    )
    figure.add_annotation(
        x=at, y=1, yref="paper", yanchor="bottom", text=text, showarrow=False, font={"size": 11, "color": colours.ink}
    )
    figure.update_layout(margin={"t": 24})


def _largest(values: Sequence[float | None]) -> float:
    return max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)


def scale_of(lines: Sequence[Line], metric: str, least: float = 0.0) -> tuple[float, str]:
    """Return by what the values of ``lines`` are divided, and the unit's symbol; ``least`` must be seen too."""
    peaks = [float(np.nanmax(np.abs(line.values))) for line in lines if np.isfinite(line.values).any()]
    return words.scale(words.unit_of(metric), max([abs(least), *peaks]))


def tint(colour: str, much: float) -> str:
    """Return ``#rrggbb`` let through by ``much`` (0..1), for areas under lines."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{much})"


def explore(
    lines: Sequence[Line],
    metric: str,
    colours: Palette,
    zone: tzinfo = UTC,
    band: tuple[float, float] | None = None,
    events: Sequence[Event] = (),
    limits: tuple[int, int] | None = None,
    names: Sequence[str] = (),
    lit: int | None = None,
    tone: str = "",
) -> go.Figure:
    """
    Return any series over time; gaps longer than five usual steps stay gaps.

    Up to six lines are told apart by dash and lightness and are named. Of more, all are grey siblings but
    ``lit`` (the position of the one that is meant), since colour means severity only. ``limits`` are the
    first and last instant shown, ``band`` what is expected now, ``tone`` the colour of the line that is meant.
    """
    divisor, symbol = scale_of(lines, metric)
    figure = base(colours, margin={"l": 8, "r": 12, "t": 24, "b": 8}, hovermode="closest", height=440)
    if band is not None:
        low, high = band
        figure.add_hrect(y0=low / divisor, y1=high / divisor, fillcolor=colours.band, line_width=0, layer="below")
    many = len(lines) > _LINES_IN_COLOUR or lit is not None
    shades = (colours.accent, colours.ink, colours.muted)
    shape = "hv" if metric_of(metric).drive is Drive.STATE else "linear"
    traces = []
    for position, line in enumerate(lines):
        moments, values = with_gaps(line.timestamps, line.values)
        if many:
            meant = position == lit
            style: dict[str, Any] = {
                "width": 2 if meant else 1,
                "color": (tone or colours.accent) if meant else colours.sibling,
            }
        else:
            style = {"shape": shape, "width": 1.75, "color": shades[position % 3], "dash": _SHAPES[position // 3]}
        name = names[position] if position < len(names) else str(line.series)
        traces.append(
            {
                "type": "scatter", "x": times(moments), "y": values / divisor, "mode": "lines",
                "name": name, "line": style, "connectgaps": False,
                "hovertemplate": f"<b>%{{y:.4~g}} {symbol}</b> · %{{x|%H:%M:%S}}<br>{name}<extra></extra>",
            }
        )  # fmt: skip
    shapes = []
    for event in events if len(events) <= _MOST_RULED else ():
        at = float(times([event.timestamp])[0])
        shapes.append(
            {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper",
             "line": {"width": 1, "color": colours.muted, "dash": "dot"}}
        )  # fmt: skip
    if events:
        shown = events[:_MOST_EVENTS]
        traces.append(
            {
                "type": "scatter", "x": times([event.timestamp for event in shown]), "y": [1.0] * len(shown),
                "yaxis": "y2", "mode": "markers", "name": "events", "showlegend": False,
                "text": [f"<b>{event.kind} {event.code}</b><br>{_short(event.text)}" for event in shown],
                "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
                "marker": {"symbol": "triangle-down", "size": 9, "color": colours.ink},
            }
        )  # fmt: skip
    figure.add_traces(traces)
    figure.update_layout(
        shapes=[*figure.layout.shapes, *shapes],
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    )
    if lit is not None and 0 <= lit < len(lines):
        _named(figure, lines[lit], names[lit] if lit < len(names) else str(lines[lit].series), divisor, colours, zone)
    elif 1 < len(lines) <= _LINES_IN_COLOUR:
        figure.update_layout(
            showlegend=True,
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        )
    axes(figure, colours, symbol)
    if limits is not None:
        figure.update_xaxes(range=times(limits).tolist())
    return figure


def _named(figure: go.Figure, line: Line, name: str, divisor: float, colours: Palette, zone: tzinfo) -> None:
    """Write the name of the one line that is meant at its end."""
    known = np.flatnonzero(np.isfinite(line.values))
    if not len(known):
        return
    last = int(known[-1])
    figure.add_annotation(
        x=float(times([line.timestamps[last]])[0]), y=float(line.values[last]) / divisor, text=f"<b>{name}</b>",
        showarrow=False, xanchor="right", yanchor="bottom", yshift=3, font={"size": 11, "color": colours.accent},
        bgcolor=colours.surface, opacity=0.92,
    )  # fmt: skip


def strangest(lines: Sequence[Line]) -> int | None:
    """
    Return the position of the line whose newest values stand farthest from the others, if it stands out at all.

    The last tenth of each line is compared with the median of all; it stands out from six spreads (1.4826 MAD),
    since of 64 usual lines the farthest is some two to three spreads away.
    """
    ends = np.array([_end(line) for line in lines])
    seen = ends[np.isfinite(ends)]
    if len(seen) < 5:
        return None
    middle = float(np.median(seen))
    spread = 1.4826 * float(np.median(np.abs(seen - middle)))
    distance = np.abs(np.nan_to_num(ends, nan=middle) - middle)
    least = max(6 * spread, 1e-3 * abs(middle), 1e-12)
    far = int(np.argmax(distance))
    return far if distance[far] > least else None


def _end(line: Line) -> float:
    values = line.values[np.isfinite(line.values)]
    return float(np.median(values[-max(1, len(values) // 10) :])) if len(values) else math.nan


def _short(text: str) -> str:
    return text if len(text) <= 90 else text[:89] + "…"


def events_line(
    events: Sequence[tuple[int, str, bool]], limits: tuple[int, int], colours: Palette, tone: str, zone: tzinfo = UTC
) -> go.Figure:
    """Return events on a line of time, ``events`` being (time, words, is it this incident's own)."""
    figure = base(colours, margin={"l": 8, "r": 12, "t": 28, "b": 8}, hovermode="closest", height=110)
    for own, colour, size in ((False, colours.unknown, 9), (True, tone, 13)):
        chosen = [event for event in events if event[2] is own]
        figure.add_scatter(
            x=times([at for at, *_ in chosen]), y=[0.5] * len(chosen), mode="markers",
            text=[_short(said) for _, said, _ in chosen], hovertemplate="%{text}<br>%{x|%H:%M:%S}<extra></extra>",
            marker={"symbol": "diamond", "size": size, "color": colour}, cliponaxis=False,
        )  # fmt: skip
    axes(figure, colours, "")
    figure.update_yaxes(visible=False, range=[0, 1], fixedrange=True)
    figure.update_xaxes(range=times(limits).tolist())
    first = next(((at, said) for at, said, own in sorted(events) if own), None)
    if first is not None:
        mark(figure, first[0], f"{words.time_of_day(first[0], zone)}", colours, zone)
    return figure


def with_gaps(
    timestamps: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the line with a NaN wherever more than five usual steps passed, so that silence is drawn as a gap."""
    if len(timestamps) < 3:
        return timestamps, values
    steps = np.diff(timestamps)
    wide = np.flatnonzero(steps > 5 * max(1, int(np.median(steps))))
    return (
        np.insert(timestamps, wide + 1, timestamps[wide] + 1),
        np.insert(values.astype(np.float64), wide + 1, np.nan),
    )
