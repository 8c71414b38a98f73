"""Small pictures of limits that are expected to be passed: the recent past, the band ahead, and the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
from dash import dcc, html

from coldaisle.catalogue import Kind, metric_of
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.errors import ColdaisleError
from coldaisle.expected import Expected
from coldaisle.prediction import Prediction, likely_at
from coldaisle.store import Line
from dashboard import components, expectation, expected_figure, words
from dashboard.expected_figure import Crossing
from dashboard.pages.address import Address
from dashboard.reader import Reader, matchers_within
from dashboard.theme import palette

MOST_PICTURES = 6
"""Each asks the store once; beyond so many, the table alone tells."""
_PAST = 3 * HOUR
"""Three times as much as a trend is followed ahead; so far back reaches what the forecaster learns from."""
_MOST_POINTS = 2000
_MOST_SERIES = 16


class _Drawn(NamedTuple):
    prediction: Prediction
    line: Line
    crossing: Crossing


def pictures(reader: Reader, waiting: Sequence[Prediction], address: Address) -> list[html.Figure]:
    """Return pictures of the first of ``waiting`` that name a limit; others have nothing to be drawn against."""
    now = reader.now() // MINUTE * MINUTE  # so that they change once a minute, not at each look
    named = [(one, limit) for one in waiting if (limit := _limit(one)) is not None]
    found = [_found(reader, one, limit, now) for one, limit in named[:MOST_PICTURES]]
    drawn = [one for one in found if one is not None]
    reach = max((one.crossing.high for one in drawn), default=now) - now
    told = expectation.ahead_of(reader, [one.line for one in drawn], now - _PAST, now, reach)
    return [_picture(reader, one, band, now, address) for one, band in zip(drawn, told, strict=True)]


def _found(reader: Reader, one: Prediction, limit: float, now: int) -> _Drawn | None:
    """Return what a picture is drawn from; None where the store does not answer, or keeps nothing of it."""
    metric = one.reasons[0].metric
    try:
        match = matchers_within(one.entity, metric, reader.backends.topology())
        lines = reader.lines(metric, match, now - _PAST, now, _MOST_POINTS, _MOST_SERIES)
    except ColdaisleError:
        return None  # the sentences in the table stand without it
    line = _nearest(lines, limit)
    if line is None:
        return None
    low = one.stated_at + round(one.within.low * SECOND)
    # Nothing of it lies before now, since it has not been passed.
    return _Drawn(one, line, Crossing(limit, max(low, now), max(likely_at(one), now), max(one.settles_at, now)))


def _picture(reader: Reader, drawn: _Drawn, told: Expected | None, now: int, address: Address) -> html.Figure:
    one, metric = drawn.prediction, drawn.line.series.metric
    figure = expected_figure.toward(drawn.line, told, drawn.crossing, now, palette(address.theme), address.zone)
    link = "/explore?" + urlencode({"metric": metric, "of": one.entity, "expected": "yes"})
    title = f"{words.metric_title(metric)} of {words.called(one.entity, reader.backends.topology())}"
    return html.Figure(
        [
            html.Figcaption(dcc.Link(title, href=link), className="chart-title"),
            dcc.Graph(figure=figure, config=components.GRAPH_CONFIG, style={"height": "200px"}),
        ],
        className="small-chart",
    )


def key() -> html.Div:
    """Say what the marks of the pictures mean."""
    return html.Div(
        [
            html.Span([html.Span("◆", className="shape tone-critical"), "passed about here; bar: from when to when"]),
            html.Span([html.Span(className="key key-band80"), "8 of 10 readings are expected here"]),
            html.Span([html.Span(className="key key-band98"), "98 of 100"]),
        ],
        className="chart-key caption",
    )


def _limit(one: Prediction) -> float | None:
    """Return the limit that can be drawn: a counter is drawn as its rate, of which a limit on its sum says nothing."""
    if not one.reasons or metric_of(one.reasons[0].metric).kind is Kind.COUNTER:
        return None
    return one.reasons[0].limit


def _nearest(lines: Sequence[Line], limit: float) -> Line | None:
    """Return the line whose newest value stands nearest to the limit: the one that is spoken of."""
    known = [(abs(float(line.values[np.isfinite(line.values)][-1]) - limit), number)
             for number, line in enumerate(lines) if np.isfinite(line.values).any()]  # fmt: skip
    return lines[min(known)[1]] if known else None
