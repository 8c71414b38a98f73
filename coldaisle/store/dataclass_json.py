"""Turns dataclasses into JSON values and back by the types of their fields, losing nothing."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

Convert = Callable[[Any], Any]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@lru_cache(maxsize=512)
def encoder(kind: Any) -> Convert:
    """
    Return what turns a value of ``kind`` into JSON values.

    Dataclasses become objects without the fields that hold their default, named tuples and tuples become
    arrays, enumerations their value, numbers that JSON lacks the strings ``nan``, ``inf``, ``-inf``.
    Raises TypeError for a type it does not know, so that no new field is lost in silence.
    """
    if kind is str or kind is bool or kind is int:
        return kind
    if kind is float:
        return _float_out
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: value.value
    if is_dataclass(kind):
        return _object_out(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        parts = [encoder(hint) for hint in get_type_hints(kind).values()]
        return lambda value: [part(item) for part, item in zip(parts, value, strict=True)]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = encoder(_only(arguments))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            each = encoder(arguments[0])
            return lambda value: [each(item) for item in value]
        parts = [encoder(argument) for argument in arguments]
        return lambda value: [part(item) for part, item in zip(parts, value, strict=True)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        each = encoder(arguments[1])
        return lambda value: {key: each(item) for key, item in value.items()}
    raise TypeError(f"no JSON form is known for {kind!r}")


@lru_cache(maxsize=512)
def decoder(kind: Any) -> Convert:
    """
    Return what turns JSON values back into ``kind``; the inverse of :func:`encoder`.

    The returned function raises ValueError, TypeError or KeyError where the JSON does not fit.
    """
    if kind is str or kind is bool or kind is int:
        return kind
    if kind is float:
        return lambda value: _NOT_FINITE[value] if isinstance(value, str) else float(value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if is_dataclass(kind):
        return _object_in(kind)
    if isinstance(kind, type) and issubclass(kind, tuple):
        parts = [decoder(hint) for hint in get_type_hints(kind).values()]
        return lambda value: kind(*(part(item) for part, item in zip(parts, value, strict=True)))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = decoder(_only(arguments))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            each = decoder(arguments[0])
            return lambda value: tuple([each(item) for item in value])
        parts = [decoder(argument) for argument in arguments]
        return lambda value: tuple([part(item) for part, item in zip(parts, value, strict=True)])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        each = decoder(arguments[1])
        return lambda value: {key: each(item) for key, item in value.items()}
    raise TypeError(f"no JSON form is known for {kind!r}")


def _only(arguments: tuple[Any, ...]) -> Any:
    rest = [argument for argument in arguments if argument is not types.NoneType]
    if len(rest) != 1:
        raise TypeError(f"no JSON form is known for a choice of {arguments!r}")
    return rest[0]


def _float_out(value: Any) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _object_out(kind: Any) -> Convert:
    hints = get_type_hints(kind)
    plan = [(field.name, encoder(hints[field.name]), _default(field)) for field in fields(kind)]

    def encode(value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, convert, default in plan:
            item = getattr(value, name)
            if item is not default and (default is MISSING or item != default):
                found[name] = convert(item)
        return found

    return encode


def _object_in(kind: Any) -> Convert:
    hints = get_type_hints(kind)
    plan = {field.name: decoder(hints[field.name]) for field in fields(kind)}

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is no {kind.__name__}")
        # An unknown key raises KeyError: rewriting a document must not lose what somebody else put there.
        return kind(**{name: plan[name](item) for name, item in value.items()})

    return decode


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
