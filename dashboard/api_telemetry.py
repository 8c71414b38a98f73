"""The API's telemetry: the hall now, series, events, and the search over everything."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from coldaisle import matcher
from coldaisle.catalogue import metric_of
from coldaisle.clock import HOUR, rfc3339
from coldaisle.errors import ConfigError
from dashboard import filters, search, words
from dashboard.api_bodies import MOST_ROWS, Moment
from dashboard.reader import Reader

_STATE_WORDS = ("unknown", "fine", "info", "warning", "critical")


def telemetry(reader: Reader) -> APIRouter:
    """Return the routes of hall, series, events and search."""
    router = APIRouter()
    store = reader.backends.metrics

    @router.get("/hall", summary="The hall now: every GPU (or node) with its state, value and score")
    def hall(metric: Annotated[str | None, Query(max_length=200)] = None) -> dict[str, Any]:
        incidents = reader.open_incidents()
        picture = reader.picture(incidents, metric)
        status = reader.status(incidents, picture)
        about = {
            "hall": reader.backends.hall,
            "open_incidents": status.open,
            "unacknowledged": status.unacknowledged,
            "healthy": status.healthy,
            "cells_total": status.cells,
            "unknown": status.unknown,
            "power_watts": status.power_watts,
            "lag_seconds": status.lag_seconds,
        }
        if picture is None:
            return {**about, "now": None, "metric": None, "metrics": [], "racks": [], "cells": []}
        place = picture.arrangement
        columns = (picture.values, picture.low, picture.high, picture.siblings, picture.scores)
        rows = zip(
            place.cells,
            place.x.tolist(),
            place.y.tolist(),
            picture.state.tolist(),
            picture.incident,
            *(_known(column) for column in columns),
            strict=True,
        )
        names = ("entity", "x", "y", "state", "incident", "value", "low", "high", "siblings", "score")
        cells = [dict(zip(names, row, strict=True)) for row in rows]
        for cell in cells:
            cell["state"], cell["incident"] = _STATE_WORDS[cell["state"]], cell["incident"] or None
        racks = [
            {"entity": b.entity, "row": b.row or None, "x": b.x, "y": b.y, "width": b.width, "height": b.height}
            for b in place.blocks
        ]
        about |= {"now": rfc3339(picture.now), "metric": picture.metric or None, "unit": words.unit_of(picture.metric)}
        return {**about, "metrics": reader.metrics_of_cells(), "racks": racks, "cells": cells}

    @router.get("/metrics", summary="The metrics that are stored")
    def metrics() -> dict[str, Any]:
        rows = [metric_of(name) for name in store.metrics()]
        return {
            "metrics": [
                {"name": m.name, "kind": m.kind.value, "unit": m.unit, "entity": m.entity, "meaning": m.meaning}
                for m in rows
            ]
        }

    @router.get("/series", summary="Samples of a metric; a long line is thinned so that its extremes survive")
    def series(
        metric: Annotated[str, Query(min_length=1, max_length=200)],
        match: Annotated[str, Query(max_length=500, description='Label matchers: node="n1", gpu=~"GPU-.*"')] = "",
        start: Moment = None,
        end: Moment = None,
        max_points: Annotated[int, Query(ge=2, le=20_000)] = 1000,
        max_series: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        begin, finish = _between(reader, start, end)
        lines = store.query(metric, matcher.parse(match), begin, finish, max_points, max_series)
        return {
            "metric": metric,
            "unit": metric_of(metric).unit,
            "start": rfc3339(begin),
            "end": rfc3339(finish),
            "series": [
                {
                    "labels": dict(line.series.labels),
                    "timestamps_ns": line.timestamps.tolist(),
                    "values": _known(line.values),
                }
                for line in lines
            ],
        }

    @router.get("/events", summary="Events of a span, the newest first")
    def events(
        start: Moment = None,
        end: Moment = None,
        match: Annotated[str, Query(max_length=500)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    ) -> dict[str, Any]:
        begin, finish = _between(reader, start, end)
        found = store.events(begin, finish, matcher.parse(match), limit)
        return {
            "events": [
                {
                    "kind": e.kind,
                    "code": e.code,
                    "timestamp": rfc3339(e.timestamp),
                    "labels": dict(e.labels),
                    "text": e.text,
                    "attributes": dict(e.attributes),
                }
                for e in found
            ]
        }

    @router.get("/search", summary="Entities and incidents whose name or text holds the words")
    def everything(
        text: Annotated[str, Query(min_length=1, max_length=200)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> dict[str, Any]:
        topology = reader.backends.topology()
        found = search.entities(topology, text, limit)
        incidents = search.incidents(reader.backends.incidents, text, limit)
        return {
            "entities": [{"entity": one, "name": words.called(one, topology)} for one in found],
            "incidents": [{"id": one.id, "title": one.title, "state": one.state.value} for one in incidents],
        }

    return router


def _known(values: Any) -> list[float | None]:
    """JSON has no NaN: unknown is null."""
    return [None if not np.isfinite(value) else value for value in values.tolist()]


def _between(reader: Reader, start: str | None, end: str | None) -> tuple[int, int]:
    last = filters.instant(end, "end")
    finish = reader.now() if last is None else last
    first = filters.instant(start, "start")
    begin = finish - HOUR if first is None else first
    if begin > finish:
        raise ConfigError("start lies after end: exchange them")
    return begin, finish
