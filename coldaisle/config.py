"""Strict configuration: every key is known, every error names its file and key, secrets print as stars."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from coldaisle.errors import ConfigError

DATA_VARIABLE = "COLDAISLE_DATA"
_FILE = "file:"


class Section(BaseModel):
    """A part of the configuration. A key that nobody reads is a mistake, not a comment."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


SectionT = TypeVar("SectionT", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document. Raises ConfigError that names the file, the line and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; write one after config/example.toml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def load(path: Path, model: type[SectionT]) -> SectionT:
    """Read ``path`` as ``model``. Raises ConfigError."""
    return parse(read_toml(path), model, str(path), path.resolve().parent)


def parse(
    document: Mapping[str, Any],
    model: type[SectionT],
    origin: str,
    folder: Path | None = None,
    origins: Mapping[str, str] | None = None,
) -> SectionT:
    """
    Turn a document into ``model``.

    A value ``"${NAME}"`` is taken from the environment, ``"${file:PATH}"`` from a file (a relative path starts at
    ``folder``). Raises ConfigError with every mistake, one a line, each beginning with ``origin: key``; what stands
    in ``origins`` by its dotted key came from there instead.
    """
    try:
        return model.model_validate(_from_elsewhere(document, origin, folder or Path()))
    except ValidationError as error:
        raise ConfigError("\n".join(_sentences(error, model, origin, origins or {}))) from error


def _from_elsewhere(value: Any, origin: str, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _from_elsewhere(inner, f"{origin}: {key}", folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_from_elsewhere(inner, origin, folder) for inner in value]
    if not (isinstance(value, str) and value.startswith("${") and value.endswith("}")):
        return value
    name = value[2:-1]
    if name.startswith(_FILE):
        try:
            secret = secret_file(folder / name.removeprefix(_FILE))
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from error
        if not secret:
            raise ConfigError(f"{origin}: {folder / name.removeprefix(_FILE)}: the file is empty; write the secret")
        return secret
    if name not in os.environ:
        raise ConfigError(f"{origin}: the environment has no variable {name}; set it or write the value")
    return os.environ[name]


def _sentences(error: ValidationError, model: type[BaseModel], general: str, origins: Mapping[str, str]) -> list[str]:
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        where = [str(part) for part in problem["loc"]]
        key = ".".join(where)
        origin = origins.get(key, general)
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, where[:-1])
            near = get_close_matches(where[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            lines.append(f"{origin}: unknown key {key!r}; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{origin}: key {key!r} is missing")
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{origin}: {key}: {text}" if key else f"{origin}: {text}")
    return lines


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", None)
        if fields is None or part not in fields:
            # A list position or a name chosen by the user: the model stays.
            continue
        current = _model_in(fields[part].annotation)
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def secret_file(path: Path) -> str:
    """Return a secret kept in a file, without the newline at its end. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"{path}: the secret cannot be read: {why}; check the path and who may read it") from error
