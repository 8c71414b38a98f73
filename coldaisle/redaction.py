"""Keeps secrets out of whatever is written for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

STARS = "**********"
_SHORTEST = 4
"""A shorter secret would star out ordinary words; none that is worth its name is that short."""


def secrets_in(value: Any) -> Iterator[str]:
    """Yield every secret anywhere in ``value``: a section, a mapping or a sequence of them."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from secrets_in(inner)


class Redaction:
    """Puts stars where a known secret stands in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, so that no part of one is left beside another's stars.
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, STARS)
        return text
