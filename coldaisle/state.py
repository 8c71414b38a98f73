"""What a part keeps so that another one can go on in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from coldaisle.errors import Permanent

State = Mapping[str, Any]
"""What one part keeps: a NumPy array of numbers or booleans, or a JSON value with finite numbers, under short names."""


class Stateful(Protocol):
    """A part whose future depends on its past only through what it keeps."""

    def state(self) -> State:
        """Return what is kept; it does not change afterwards, so that another thread can write it."""
        ...

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, in a part that is new. Raises Permanent that names the key."""
        ...


def collect_state(parts: Mapping[str, Stateful]) -> dict[str, State]:
    """Return what each part keeps, under its name."""
    return {name: part.state() for name, part in parts.items()}


def restore_state(parts: Mapping[str, Stateful], kept: Mapping[str, State]) -> None:
    """
    Give each part back what it kept, in the order of ``parts``: what others look things up in comes first.

    Raises Permanent that names the part and the key; the parts are then of no use, make new ones.
    """
    if parts.keys() != kept.keys():
        raise Permanent(f"snapshot: holds {', '.join(sorted(kept))}; needed are {', '.join(sorted(parts))}")
    for name, part in parts.items():
        try:
            part.restore(kept[name])
        except Permanent as error:
            raise Permanent(f"snapshot: {name}: {error}") from error
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            # Whole and undamaged, and yet not what this code keeps: no reason to stop for ever.
            raise Permanent(f"snapshot: {name}: does not fit: {type(error).__name__}: {error}") from error


class Kept:
    """Reads one part's state key by key; every complaint is a Permanent that names the key."""

    def __init__(self, state: State) -> None:
        self._state = state

    def array(self, key: str, dtype: DTypeLike, *shape: int | None) -> NDArray[Any]:
        """Return a copy of an array of ``dtype``; ``shape`` is what it must have, None = any length."""
        value = self._get(key)
        want = np.dtype(dtype)
        if not isinstance(value, np.ndarray) or value.dtype.newbyteorder("=") != want:
            raise Permanent(f"{key}: is {_shown(value)}; expected an array of {want}")
        fits = len(value.shape) == len(shape) and all(
            wanted in (None, have) for have, wanted in zip(value.shape, shape, strict=True)
        )
        if not fits:
            wanted = " x ".join("any" if each is None else str(each) for each in shape) or "one number"
            raise Permanent(f"{key}: has shape {list(value.shape)}; expected {wanted}")
        return np.array(value, want)

    def integer(self, key: str) -> int:
        """Return an integer."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Permanent(f"{key}: is {_shown(value)}; expected an integer")
        return value

    def maybe_integer(self, key: str) -> int | None:
        """Return an integer or None."""
        return None if self._get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """Return a number."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Permanent(f"{key}: is {_shown(value)}; expected a number")
        return float(value)

    def text(self, key: str) -> str:
        """Return a text."""
        value = self._get(key)
        if not isinstance(value, str):
            raise Permanent(f"{key}: is {_shown(value)}; expected a text")
        return value

    def items(self, key: str) -> list[Any]:
        """Return a list."""
        value = self._get(key)
        if not isinstance(value, list):
            raise Permanent(f"{key}: is {_shown(value)}; expected a list")
        return value

    def rows(self, key: str, *columns: type) -> Iterator[tuple[Any, ...]]:
        """Yield a list's rows, each of them a list with a value of each of ``columns``' kinds."""
        for row in self.items(key):
            whole = isinstance(row, list | tuple) and len(row) == len(columns)
            if not whole or not all(isinstance(v, kind) for v, kind in zip(row, columns, strict=True)):
                kinds = ", ".join(kind.__name__ for kind in columns)
                raise Permanent(f"{key}: holds {_shown(row)}; expected rows of {kinds}")
            yield tuple(row)

    def within(self, name: str) -> Kept:
        """Return the reader of what :func:`nested` put below ``name``."""
        start = f"{name}/"
        return Kept({key.removeprefix(start): value for key, value in self._state.items() if key.startswith(start)})

    @property
    def state(self) -> State:
        """What is read."""
        return self._state

    def _get(self, key: str) -> Any:
        if key not in self._state:
            raise Permanent(f"{key}: is missing")
        return self._state[key]


def nested(name: str, state: State) -> dict[str, Any]:
    """Return the state of a part within a part, to be merged into that of the outer one."""
    return {f"{name}/{key}": value for key, value in state.items()}


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
