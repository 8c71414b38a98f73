"""A whole configuration with a distinct, telling value in every key that is secret, for tests that look for leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, SecretStr

from cli.settings import Settings
from collectors.registry import COLLECTORS

Source = Literal["value", "variable", "file", "override"]
SOURCES: tuple[Source, ...] = ("value", "variable", "file", "override")
NOWHERE = "127.0.0.1:1"
"""Nobody listens there, so that a connection is refused at once."""


def secret_keys(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key of ``model`` that holds a secret; ``*`` stands for a place in a list."""
    for name, found in model.model_fields.items():
        yield from _within(found.annotation, (*before, found.alias or name))


def _within(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr):
        yield path
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from secret_keys(annotation, path)
    else:
        deeper = (*path, "*") if Ellipsis in get_args(annotation) else path
        for inner in get_args(annotation):
            yield from _within(inner, deeper)


def every_secret_key() -> list[tuple[str, ...]]:
    """Return the paths of all secrets that a configuration may hold, collectors by their kind."""
    of_collectors = [
        path for kind, entry in COLLECTORS.items() for path in secret_keys(entry.config, ("collector", kind))
    ]
    return [*secret_keys(Settings), *of_collectors]


@dataclass
class Planted:
    """A configuration with canaries, and what must be in the environment with it."""

    path: Path
    canaries: dict[tuple[str, ...], str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def leaks(self, text: str) -> list[str]:
        """Return the keys whose canary stands in ``text``, as it is or between escapes."""
        return [".".join(path) for path in self.canaries if mark(path) in text]


def mark(path: tuple[str, ...]) -> str:
    """Return the part of a canary that no escaping changes: letters and digits, 36 of base64."""
    return "CANARY" + sha256(".".join(path).encode()).hexdigest()[:30]


def canary(path: tuple[str, ...]) -> str:
    """Return the secret for a key: with what tempts to escape, where the key allows it."""
    if path[0] == "receiver":
        return f"whsec_{mark(path)}"
    # A header takes printable ASCII alone.
    return f"\"{mark(path)}'\\ %/@:#?" if path[-1] in ("token", "bearer_token") else f"{mark(path)}\"é'\\ %/@:#?\t€"


def plant(folder: Path, source: Source, more: Mapping[str, Mapping[str, Any]] | None = None) -> Planted:
    """
    Write a configuration whose servers are all away, with a canary in every secret key, from ``source``.

    ``more`` changes keys of sections, ``url`` of one influx, receiver or collector among them.
    """
    document: dict[str, Any] = {
        "node": "n1",
        "serve": {"port": 0},
        "health": {"port": 0},
        "storage": {
            "folder": "data", "metrics": "influx", "incidents": f"postgresql://cold@{NOWHERE}/cold",
            "influx": {"url": f"http://{NOWHERE}", "org": "cold"},
        },
        "bus": {
            "kind": "kafka",
            "kafka": {"servers": [NOWHERE], "security": "sasl_tls", "user": "cold", "connect_seconds": 1.0},
        },
        "receiver": [{"name": "oncall", "url": f"http://{NOWHERE}/hook"}],
        "collector": [
            {"kind": "prometheus", "url": f"http://{NOWHERE}/m", "interval_seconds": 0.5, "deadline_seconds": 0.5},
        ],
    }  # fmt: skip
    for name, changes in (more or {}).items():
        section = document
        for word in name.split("."):
            section = section.setdefault(word, {}) if isinstance(section, dict) else section[int(word)]
        section.update(changes)
    planted = Planted(folder / "planted.toml")
    for number, path in enumerate(every_secret_key()):
        if _section(document, path) is None:
            continue  # of a list that ``more`` has emptied
        planted.canaries[path] = canary(path)
        _put(document, path, _given(planted, folder, number, path, source))
    planted.path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in document.items()))
    return planted


def _section(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    if path[0] == "collector":
        return next((row for row in document["collector"] if row["kind"] == path[1]), None)
    if path[0] == "receiver":
        return next(iter(document["receiver"]), None)
    return document


def _put(document: dict[str, Any], path: tuple[str, ...], given: str | None) -> None:
    section = _section(document, path)
    assert section is not None
    keys = path[2:] if path[0] in ("collector", "receiver") else path
    for key in keys[:-1] if keys[-1] != "*" else keys[:-2]:
        section = section.setdefault(key, {})
    if given is not None:
        section[keys[-1] if keys[-1] != "*" else keys[-2]] = [given] if keys[-1] == "*" else given


def _given(planted: Planted, folder: Path, number: int, path: tuple[str, ...], source: Source) -> str | None:
    """Return what stands in the file for a secret; None where a variable says the key itself."""
    secret = planted.canaries[path]
    match source:
        case "value":
            return secret
        case "variable":
            planted.environment[f"CANARY_{number}"] = secret
            return f"${{CANARY_{number}}}"
        case "file":
            (folder / f"secret-{number}").write_text(secret + "\n", encoding="utf-8")
            return f"${{file:secret-{number}}}"
        case "override":
            keys = [word for word in path if word != "*"]
            if path[0] in ("collector", "receiver"):
                keys = [path[0], "0", *path[2:]]
            variable = "COLDAISLE__" + "__".join(keys).upper().removesuffix("__*")
            planted.environment[variable] = f"[{json.dumps(secret)}]" if path[-1] == "*" else secret
            return None


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
