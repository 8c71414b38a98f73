"""Configuration from the environment: ``COLDAISLE__SECTION__KEY=value`` goes before what the file says."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr

from coldaisle.errors import ConfigError

PREFIX = "COLDAISLE__"
_TEXT = (str, SecretStr, Path)


class Overridden(NamedTuple):
    """A document with what the environment changes in it, and which variable changed which dotted key."""

    document: dict[str, Any]
    origins: Mapping[str, str]


def overridden(document: Mapping[str, Any], model: type[BaseModel], environment: Mapping[str, str]) -> Overridden:
    """
    Return ``document``, of ``model``, with every variable of ``environment`` that begins with ``COLDAISLE__``.

    The rest of its name, split at ``__``, is a path of keys in small letters; a section that may be there several
    times (``[[receiver]]``) is followed by its number, from 0. A key that holds text takes the value as it is, any
    other reads it as TOML. Raises ConfigError that names the variable.
    """
    changed = _copy(document)
    origins: dict[str, str] = {}
    for name in sorted(environment):
        if name.startswith(PREFIX):
            path = name.removeprefix(PREFIX).lower().split("__")
            origins[_set(changed, model, path, environment[name], name)] = name
    return Overridden(changed, origins)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _set(document: Any, model: type[BaseModel], path: list[str], text: str, variable: str) -> str:
    """Write ``text`` at ``path`` of ``document``; return the dotted key as messages name it."""
    place: Any = document
    annotation: Any = model
    for depth, word in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(place, list):
            if not word.isdigit() or int(word) >= len(place):
                raise ConfigError(
                    f"{variable}: {'.'.join(path[:depth])} has {len(place)} entries in the file, counted from 0; "
                    f"{word!r} is none of them"
                )
            key: Any = int(word)
            annotation = next((inner for inner in get_args(annotation) if inner is not Ellipsis), None)
        else:
            key, annotation = word, _field(annotation, word, variable)
        if not isinstance(place, (dict, list)):
            raise ConfigError(f"{variable}: {'.'.join(path[:depth])} is a value in the file, not a section")
        if last:
            place[key] = _value(annotation, text)
        elif isinstance(place, list):
            place = place[key]
        else:
            place = place.setdefault(key, {})
    return ".".join(path)


def _field(annotation: Any, word: str, variable: str) -> Any:
    """Return what a section says of its key ``word``; None where the section's keys are free."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return get_args(annotation)[1]
    if annotation is not None and _section(annotation) is None:
        raise ConfigError(f"{variable}: {word!r} stands behind a key that holds a value, not a section")
    section = _section(annotation)
    if section is None:
        return None
    known = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    if word in known:
        return known[word]
    if "options" in known:  # a collector's own keys, which its kind knows
        return None
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    raise ConfigError(f"{variable}: unknown key {word!r}; {hint}")


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section(inner)) is not None), None)


def _value(annotation: Any, text: str) -> Any:
    if text.startswith("${"):
        return text
    plain = annotation is None and not text.startswith(("[", "{"))
    if plain or _holds_text(annotation):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _holds_text(annotation: Any) -> bool:
    arguments = get_args(annotation)
    if not arguments:
        return isinstance(annotation, type) and issubclass(annotation, _TEXT)
    if isinstance(origin := get_origin(annotation), type) and issubclass(origin, Collection):
        return False
    return any(_holds_text(inner) for inner in arguments)
