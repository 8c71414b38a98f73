"""What is expected to fail, why, and how often such expectations came true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from dash import Dash, Input, Output, State, dcc, html, no_update

from coldaisle.clock import DAY, SECOND
from coldaisle.prediction import Bin, Outcome, Prediction, Score, by_rule, calibration, likely_at, score
from coldaisle.store.prediction_port import PredictionQuery
from dashboard import components, words
from dashboard.callbacks import held, on
from dashboard.pages import ahead_pictures
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import FINE, INFO, WARNING

_MOST_OPEN = 100
_MOST_SETTLED = 20
_MOST_SCORED = 20_000
_SPANS = {"7d": ("Last 7 days", 7 * DAY), "30d": ("Last 30 days", 30 * DAY), "365d": ("Last year", 365 * DAY)}
_FEW = 10
"""Settled warnings below which a precision says little."""


def layout(reader: Reader, address: Address) -> Any:
    """Return the page."""
    content = _content(reader, address)
    spans = [{"value": key, "label": word} for key, (word, _) in _SPANS.items()]
    return html.Div(
        [
            html.Div(
                [
                    html.H1("Ahead"),
                    html.Div(
                        components.select("ahead-span", "Time", spans, _span(address), w=130), className="filters"
                    ),
                ],
                className="page-head",
            ),
            html.Div(content, id="ahead-content"),
            dcc.Interval(id="ahead-tick", interval=15_000),
            dcc.Store(id="ahead-known", data=components.digest(content)),
        ]
    )


def _span(address: Address) -> str:
    span = address.get("span", "30d")
    return span if span in _SPANS else "30d"


def _content(reader: Reader, address: Address) -> Any:
    store, now = reader.backends.incidents, reader.now()
    word, lasting = _SPANS[_span(address)]
    waiting = store.predictions(PredictionQuery((Outcome.OPEN,), limit=_MOST_OPEN))
    made = store.predictions(PredictionQuery(made_since=max(0, now - lasting), limit=_MOST_SCORED))
    told = [one for one in made if one.warned_at is not None]
    over = sorted((one for one in made if one.outcome is not Outcome.OPEN), key=lambda one: -(one.settled_at or 0))
    return html.Div(
        [
            html.Section(_verdict(waiting, score(told), word.lower()), className="panel"),
            components.section("Expected", *_expected(reader, waiting, now, address), className="expected"),
            html.Div(
                [
                    components.section("How warnings fared, by kind", _fared(told)),
                    components.section("Stated, and came true", _calibrated(calibration(made))),
                ],
                className="halves",
            ),
            components.section("Settled last", _settled(reader, over[:_MOST_SETTLED], address)),
            html.P(
                "A warning is a hit when what it says happens in its time, a miss when that time passes. It is "
                "withdrawn when nobody can tell any more: the thing was reset, replaced or left.",
                className="caption",
            ),
        ],
        className="ahead",
    )


def _verdict(waiting: Sequence[Prediction], fared: Score, word: str) -> list[Any]:
    told = sum(one.warned_at is not None for one in waiting)
    if told:
        first = components.badge(WARNING, f"{told} warning{'s' if told != 1 else ''} open")
    elif waiting:
        first = components.badge(INFO, "Nothing is certain enough to warn of")
    else:
        first = components.badge(FINE, "Nothing is expected to fail")
    return [html.Div([first, html.Span(_sentence(fared, word))], className="facts")]


def _sentence(fared: Score, word: str) -> str:
    settled = fared.hits + fared.misses
    if not settled:
        return f"{word}: no warning has been settled yet, so nothing is known of how good they are"
    lead = "" if fared.median_lead_seconds is None else f", {_lead(fared.median_lead_seconds)} before (median)"
    few = "; too few to rely on" if settled < _FEW else ""
    return f"{word}: {fared.hits} of {settled} settled warnings came true ({fared.precision:.0%}){lead}{few}"


def _expected(reader: Reader, waiting: Sequence[Prediction], now: int, address: Address) -> list[Any]:
    if not waiting:
        words_first = "Rising errors, wearing fans and limits in reach will stand here first."
        return [components.empty("✓", "Nothing is expected to fail", words_first)]
    topology = reader.backends.topology()
    rows = []
    ordered = sorted(waiting, key=lambda each: (each.warned_at is None, -each.latest))
    for one in ordered:
        mark = components.badge(WARNING, "Warning") if one.warned_at else components.badge(INFO, "Watched")
        due = likely_at(one)
        when = html.Span(
            [
                "about " if due > now else "due ",
                components.moment(due, address.zone, words.time_of_day(due, address.zone)[:5]),
                ", by ",
                components.moment(one.settles_at, address.zone, words.time_of_day(one.settles_at, address.zone)[:5]),
            ]
        )
        why = html.Ul(
            [html.Li(_near(reason.text, one, address, reader)) for reason in one.reasons], className="reasons"
        )
        entity = dcc.Link(words.called(one.entity, topology), href=_explore(one))
        chance = html.Span(f"{one.latest:.0%} likely", title=f"stated with {one.probability:.0%}")
        rows.append([mark, html.Div([html.Div(entity, className="strong"), one.what]), when, chance, why])
    table = _table(("", "What and where", "When", "Chance", "Why"), rows, number=(3,))
    drawn = ahead_pictures.pictures(reader, ordered, address)
    if not drawn:
        return [table]
    return [table, html.Div([html.Div(drawn, className="small-charts"), ahead_pictures.key()], className="toward")]


def _explore(prediction: Prediction) -> str:
    metric = prediction.reasons[0].metric if prediction.reasons else ""
    return "/explore?" + urlencode({"metric": metric, "of": prediction.entity})


def _near(text: str, prediction: Prediction, address: Address, reader: Reader) -> str:
    return words.plain(text, prediction.made_at, address.zone, reader.backends.topology())


def _fared(told: Sequence[Prediction]) -> Any:
    if not told:
        return html.P("Nobody has been warned of anything yet.", className="muted")
    rows = []
    for rule, fared in by_rule(told).items():
        settled = fared.hits + fared.misses
        rows.append(
            [
                rule.replace("_", " "),
                f"{fared.hits} of {settled}",
                "–" if fared.precision is None else f"{fared.precision:.0%}",
                "–" if fared.median_lead_seconds is None else _lead(fared.median_lead_seconds),
            ]
        )
    return _table(("Kind", "Came true", "Precision", "Median lead"), rows, number=(1, 2, 3))


def _calibrated(bins: Sequence[Bin]) -> Any:
    if not bins:
        return html.P("Nothing has been settled yet.", className="muted")
    rows = [
        [
            f"{one.low:.0%} to {one.high:.0%}",
            f"{one.settled:,}",
            f"{one.stated:.0%}",
            html.Div(
                [html.Span(f"{one.came_true:.0%}"), html.Meter(value=one.came_true, min=0, max=1, className="share")],
                className="metered",
            ),
        ]
        for one in bins
    ]
    return _table(("Stated", "Settled", "Mean stated", "Came true"), rows, number=(1, 2, 3))


def _settled(reader: Reader, over: Sequence[Prediction], address: Address) -> Any:
    if not over:
        return html.P("Nothing has been settled yet.", className="muted")
    topology = reader.backends.topology()
    looks = {Outcome.HIT: (FINE, "Hit"), Outcome.MISS: (WARNING, "Miss"), Outcome.WITHDRAWN: (INFO, "Withdrawn")}
    rows = []
    for one in over:
        lead = "–" if one.lead_seconds is None else _lead(one.lead_seconds)
        rows.append(
            [
                components.badge(*looks[one.outcome]),
                html.Div([html.Div(words.called(one.entity, topology), className="strong"), one.what]),
                components.moment(one.settled_at or 0, address.zone),
                f"{one.probability:.0%}",
                lead,
                "yes" if one.warned_at else "no",
            ]
        )
    return _table(("", "What and where", "Settled", "Stated", "Lead", "Warned"), rows, number=(3, 4))


def _lead(seconds: float) -> str:
    return words.span(round(seconds * SECOND))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]], number: tuple[int, ...] = ()) -> Any:
    tone = ["num" if place in number else "" for place in range(len(head))]
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(word, className=how) for word, how in zip(head, tone, strict=True)])),
                html.Tbody(
                    [
                        html.Tr([html.Td(cell, className=how) for cell, how in zip(row, tone, strict=True)])
                        for row in rows
                    ]
                ),
            ],
            className="plain",
        ),
        className="wide",
    )


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("ahead-content", "children"),
        Output("ahead-known", "data"),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        Input("ahead-tick", "n_intervals"),
        Input("ahead-span", "value"),
        State("ahead-known", "data"),
        State("url", "search"),
        State("theme", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
        running=held("ahead-tick"),
    )
    def refresh(_tick: int, span: str, known: str, search: str, theme: str, zone: str) -> Any:
        before = Address.of("/ahead", search, theme, zone)
        address = before.with_(span=None if span == "30d" else span)
        content = _content(reader, address)
        fresh = components.digest(content)
        moved = (address.search, address.search) if address.search != before.search else (no_update, no_update)
        return (*((no_update, no_update) if fresh == known else (content, fresh)), *moved)
