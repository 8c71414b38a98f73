"""Keeps secrets out of whatever is written for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

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
    """Puts stars where a known secret stands in a text, as it is or as Python, JSON or a URL would write it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, so that no part of one is left beside another's stars.
        written = {form for one in secrets if len(one) >= _SHORTEST for form in _forms(one) if len(form) >= _SHORTEST}
        self._secrets = sorted(written, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, STARS)
        return text


def _forms(secret: str) -> Iterator[str]:
    """Yield ``secret`` as errors of libraries quote it."""
    raw = secret.encode()
    yield from (secret, secret.strip(), repr(secret)[1:-1], repr(raw)[2:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
