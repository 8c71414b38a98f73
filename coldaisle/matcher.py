"""Label matchers, as PromQL and Alertmanager write them: ``gpu="GPU-a"``, ``node=~"n1.*"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from coldaisle.errors import ConfigError


class Operator(StrEnum):
    """How a label's value is compared. An absent label is the empty string, as in Prometheus."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label. Regular expressions are anchored at both ends."""

    name: str
    operator: Operator
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` fulfil the condition."""
        have = labels.get(self.name, "")
        match self.operator:
            case Operator.EQUAL:
                return have == self.value
            case Operator.NOT_EQUAL:
                return have != self.value
            case Operator.MATCHES:
                return _pattern(self.value).fullmatch(have) is not None
            case Operator.NOT_MATCHES:
                return _pattern(self.value).fullmatch(have) is None

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.name}{self.operator.value}"{escaped}"'


_MATCHER = re.compile(r'\s*([A-Za-z_][\w.]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"{}]+))\s*')


def parse(text: str) -> tuple[Matcher, ...]:
    """
    Return the matchers of ``text``: ``node="n1", gpu=~"GPU-.*"``, with or without braces.

    Raises ConfigError that shows where reading stopped.
    """
    inner = text.strip().removeprefix("{").removesuffix("}").strip()
    found: list[Matcher] = []
    position = 0
    while position < len(inner):
        hit = _MATCHER.match(inner, position)
        if hit is None:
            raise ConfigError(f'cannot read the matcher at {inner[position:]!r}: write name="value", =~, != or !~')
        name, operator, quoted, bare = hit.groups()
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
        if operator in ("=~", "!~"):
            try:
                _pattern(value)
            except re.error as error:
                raise ConfigError(f"{name}{operator}{value!r} is not a regular expression: {error}") from error
        found.append(Matcher(name, Operator(operator), value))
        position = hit.end()
        if position < len(inner):
            if inner[position] != ",":
                raise ConfigError(f"expected a comma before {inner[position:]!r}")
            position += 1
    return tuple(found)


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Return whether ``labels`` fulfil every one of ``matchers``; no matchers match everything."""
    return all(matcher.matches(labels) for matcher in matchers)
