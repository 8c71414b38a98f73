"""Gives Dash's callback decorator the types it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from dash import Dash

CallbackT = TypeVar("CallbackT", bound=Callable[..., Any])


def on(app: Dash, *wires: Any, **options: Any) -> Callable[[CallbackT], CallbackT]:
    """Return ``app.callback(...)``: the decorated function answers when one of its inputs changes."""
    return cast("Callable[[CallbackT], CallbackT]", app.callback(*wires, **options))
