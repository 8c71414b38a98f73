"""Gives Dash's callback decorator the types it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from dash import Dash, Output

CallbackT = TypeVar("CallbackT", bound=Callable[..., Any])


def on(app: Dash, *wires: Any, **options: Any) -> Callable[[CallbackT], CallbackT]:
    """Return ``app.callback(...)``: the decorated function answers when one of its inputs changes."""
    return cast("Callable[[CallbackT], CallbackT]", app.callback(*wires, **options))


def held(*ticks: str) -> list[tuple[Output, int, int]]:
    """
    Return what ``running=`` needs so that the named ``dcc.Interval`` stand still while the server answers.

    The browser drops an answer when the same callback has been asked again meanwhile. A server that takes longer
    than a tick would then answer for ever and nothing would ever be shown. (``max_intervals`` 0 stops an interval,
    -1 lets it go on; ``disabled`` stays with the page. Where no answer comes, coldaisle.js lets it go on.)
    """
    return [(Output(tick, "max_intervals"), 0, -1) for tick in ticks]
