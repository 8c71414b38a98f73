"""What one entity measures now, and its last hour beside its siblings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from dash import dcc, html

from coldaisle import matcher
from coldaisle.catalogue import Drive, metric_of
from coldaisle.clock import HOUR
from coldaisle.errors import ColdaisleError
from coldaisle.matcher import all_match
from coldaisle.store import Line
from coldaisle.topology import RelationKind, Topology, kind_of, name_of
from dashboard import components, figures, words
from dashboard.pages.address import Address
from dashboard.places import Number
from dashboard.places import numbers as numbers_of
from dashboard.reader import Reader, matcher_for, matchers_within
from dashboard.theme import palette

_MOST_CHARTS = 4
_MOST_SIBLINGS = 16
_MOST_LINKS = 40
_OLD_SECONDS = 90.0
_MOST_INSIDE = 64
_WITHIN = {
    "rack": ("gpu_temperature_celsius", "node_power_watts", "node_inlet_temperature_celsius", "gpu_utilization_ratio"),
    "row": ("node_inlet_temperature_celsius", "node_power_watts"),
}
"""What is drawn of everything inside a place that measures nothing itself."""
_STRANGE = 0.3  # a score from which a number is said to be strange; pages begin higher
_TELLING = {
    "gpu": ("gpu_temperature_celsius", "gpu_power_watts", "gpu_clock_sm_hertz", "gpu_utilization_ratio"),
    "node": (
        "node_power_watts", "node_inlet_temperature_celsius", "node_fan_speed_rpm", "node_cpu_utilization_ratio",
    ),
    "port": ("port_receive_bytes_total", "port_symbol_errors_total", "port_link_downs_total", "port_up"),
    "psu": ("psu_input_power_watts", "psu_up", "psu_fan_speed_rpm"),
    "pdu": ("pdu_power_watts", "pdu_voltage_volts", "pdu_up"),
    "crac": ("crac_supply_temperature_celsius", "crac_fan_speed_ratio", "crac_return_temperature_celsius"),
    "cdu": ("cdu_supply_temperature_celsius", "cdu_flow_litres_per_minute", "cdu_pump_speed_ratio"),
    "site": ("site_power_watts",),
}  # fmt: skip
"""What tells most of a thing of each kind, first of all when nothing is strange."""


def telling(kind: str, strange: Sequence[str], have: Sequence[str]) -> list[str]:
    """Return the metrics to draw of a thing of ``kind``: what is strange about it, then what tells most."""
    wanted = [*strange[:2], *_TELLING.get(kind, ()), *have]
    drawn = [name for name in dict.fromkeys(wanted) if name in have and metric_of(name).drive is not Drive.STATE]
    return (drawn or list(have))[:_MOST_CHARTS]


def numbers(reader: Reader, address: Address) -> Any:
    """Return what the place itself measures now."""
    at, live = address.get("at"), reader.backends.live()
    rows = numbers_of(live, at) if live is not None else []
    if rows:
        return components.section("Now", html.Div(_table(rows, at), className="table-wrap"))
    return None if kind_of(at) in _WITHIN else html.P("It sends no telemetry of its own.", className="muted")


def frame(at: str) -> Any:
    """Return the room that the charts will take, so that nothing moves when they come."""
    count = len(_WITHIN.get(kind_of(at), _TELLING.get(kind_of(at), ())))
    room = [html.Figure(html.Div(className="small-room"), className="small-chart") for _ in range(count)]
    return components.section("The last hour", html.Div(room, className="small-charts")) if room else None


def charts(reader: Reader, address: Address) -> Any:
    """Return the last hour of what tells most of the place, beside its siblings; of what is inside a rack or a row."""
    at, live = address.get("at"), reader.backends.live()
    if kind_of(at) in _WITHIN:
        drawn = [_spread(reader, address, metric) for metric in _WITHIN[kind_of(at)]]
        said = "all inside in grey, what stands out in colour"
    else:
        rows = numbers_of(live, at) if live is not None else []
        strange = [one.series.metric for one in rows if one.score >= _STRANGE]
        chosen = telling(kind_of(at), strange, [one.series.metric for one in rows])
        drawn = [_chart(reader, address, metric) for metric in chosen]
        said = "siblings in grey"
    known = [one for one in drawn if one is not None]
    if not known:
        return None
    aside = html.Span(f"{said} · times in {words.zone_word(reader.now(), address.zone)}", className="muted")
    return components.section("The last hour", html.Div(known, className="small-charts"), aside=aside)


def around(at: str, topology: Topology) -> list[Any]:
    """Return what feeds, cools and links ``at``, and what it contains beside nodes and GPUs, each a link."""
    lines: list[Any] = []
    relations = ((RelationKind.FEEDS, "Fed by"), (RelationKind.COOLS, "Cooled by"), (RelationKind.LINKS, "Linked by"))
    chain = [at, *topology.ancestors(at)]
    for kind, word in relations:
        found = list(dict.fromkeys(source for one in chain for source in topology.sources(one, kind)))
        if found:
            lines.append((word, found))
    inside = [one for one in topology.children(at) if kind_of(one) not in ("gpu", "site", "row")]
    if inside:
        lines.append(("Holds", inside))
    for kind, word in ((RelationKind.FEEDS, "Feeds"), (RelationKind.COOLS, "Cools"), (RelationKind.LINKS, "Links")):
        if topology.targets(at, kind):
            lines.append((word, topology.targets(at, kind)))
    if not lines:
        return []
    rows = [
        html.Li(
            [
                html.Span(word, className="level"),
                html.Span([_link(one, topology) for one in found[:_MOST_LINKS]], className="chips"),
            ]
        )
        for word, found in lines
    ]
    return [html.Section(html.Ul(rows, className="beside"), className="panel")]


def _link(entity: str, topology: Topology) -> dcc.Link:
    return dcc.Link(words.called(entity, topology), href="/?" + urlencode({"at": entity}), className="chip")


def _spread(reader: Reader, address: Address, metric: str) -> Any:
    """One metric of everything inside a rack or a row."""
    at, now, topology = address.get("at"), reader.now(), reader.backends.topology()
    try:
        match = matchers_within(at, metric, topology)
        lines = reader.lines(metric, match, now - HOUR, now, 120, _MOST_INSIDE)
    except ColdaisleError:
        return None  # the picture above still tells the present
    drawn = [line for line in lines if len(line.timestamps)]
    if not drawn:
        return None
    names = [words.short(topology.entity_of(line.series.labels), topology) for line in drawn]
    lit = figures.strangest(drawn)
    figure = figures.explore(
        drawn, metric, palette(address.theme), address.zone, limits=(now - HOUR, now), names=names,
        lit=-1 if lit is None else lit,
    )  # fmt: skip
    return _small(figure, metric, at)


def _small(figure: Any, metric: str, at: str) -> html.Figure:
    figure.update_layout(height=180, margin={"t": 8}, showlegend=False)
    link = "/explore?" + urlencode({"metric": metric, "of": at})
    return html.Figure(
        [
            html.Figcaption(dcc.Link(words.metric_title(metric), href=link), className="chart-title"),
            dcc.Graph(figure=figure, config=components.GRAPH_CONFIG, style={"height": "180px"}),
        ],
        className="small-chart",
    )


def _chart(reader: Reader, address: Address, metric: str) -> Any:
    at, now = address.get("at"), reader.now()
    try:
        found = beside(reader, at, metric, now - HOUR, now)
    except ColdaisleError:
        return None  # the table beside it still tells the present
    if found is None:
        return None
    mine, others = found
    drawn = [*others, mine]
    topology = reader.backends.topology()
    names = [words.short(topology.entity_of(line.series.labels), topology) for line in drawn]
    figure = figures.explore(
        drawn, metric, palette(address.theme), address.zone, reader.expected_band(mine.series),
        limits=(now - HOUR, now), names=names, lit=len(drawn) - 1,
    )  # fmt: skip
    figure.update_layout(annotations=())  # the page says already whose line it is
    return _small(figure, metric, at)


def beside(reader: Reader, at: str, metric: str, start: int, end: int) -> tuple[Line, list[Line]] | None:
    """
    Return the line of ``at`` and those of what stands beside it: a node's other GPUs, a rack's other nodes.

    None where ``at`` has no samples in the span. Raises ConfigError, Transient.
    """
    topology = reader.backends.topology()
    kind, parent = kind_of(at), topology.parent(at)
    match, own = matcher_for(at), matcher.parse(matcher_for(at))
    if parent is not None and kind == "gpu" and kind_of(parent) == "node":
        match = matcher_for(parent)
    elif parent is not None and kind != "site":
        mates = [name_of(one) for one in topology.children(parent) if kind_of(one) == kind and one != at]
        pattern = "|".join(re.escape(name) for name in (name_of(at), *mates[: _MOST_SIBLINGS - 1]))
        match = match if ":" in name_of(at) else f'{kind}=~"{pattern}"'
    lines = [line for line in reader.lines(metric, match, start, end, 240, _MOST_SIBLINGS) if len(line.timestamps)]
    mine = next((line for line in lines if all_match(own, dict(line.series.labels))), None)
    return None if mine is None else (mine, [line for line in lines if line is not mine])


def _table(rows: Sequence[Number], at: str) -> html.Table:
    head = html.Thead(
        html.Tr(
            [
                html.Th("Metric"),
                *(html.Th(word, className="num") for word in ("Now", "Expected", "Siblings", "Score", "Age")),
            ]
        )
    )
    return html.Table([head, html.Tbody([_row(one, at) for one in rows])], className="plain")


def _row(one: Number, at: str) -> html.Tr:
    unit = words.unit_of(one.series.metric)
    divisor, symbol = words.scale(unit, one.value)
    flag = metric_of(one.series.metric).drive is Drive.STATE
    expected = "–"
    if one.low == one.low and one.high == one.high and not flag:
        low, high = words.number(one.low / divisor), words.number(one.high / divisor)
        expected = f"{low} to {high} {symbol}".strip()
    mates = "–" if one.siblings != one.siblings else words.quantity(one.siblings, unit)
    strange = one.score >= _STRANGE
    score = (
        "–"
        if flag
        else "warming up"
        if one.score != one.score
        else f"{'▲ ' if strange else ''}{max(0.0, one.score):.2f}"
    )
    own = ("node", "rack", "row", kind_of(at))
    extra = [f"{name}={value}" for name, value in one.series.labels if name not in own]
    title = words.metric_title(one.series.metric)
    link = "/explore?" + urlencode({"metric": one.series.metric, "of": at})
    return html.Tr(
        [
            html.Td(
                [dcc.Link(title, href=link), html.Span(" " + " ".join(extra), className="muted")],
                title=f"{one.series.metric}: {metric_of(one.series.metric).meaning}",
            ),
            html.Td(words.quantity(one.value, unit), className="num strong"),
            html.Td(expected, className="num"),
            html.Td(mates, className="num"),
            html.Td(score, className="num" + (" tone-warning" if strange else "")),
            html.Td(
                words.span(round(max(0.0, one.age_seconds) * 1e9)),
                className="num" + (" tone-warning" if one.age_seconds > _OLD_SECONDS else ""),
            ),
        ]
    )  # fmt: skip
