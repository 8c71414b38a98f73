"""The page's address: all of its state that a colleague should see too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from urllib.parse import parse_qsl, urlencode

from dashboard.words import zone_of

_MOST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Address:
    """Path and parameters, with the reader's theme and time zone."""

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    theme: str = "light"
    zone_name: str = "UTC"
    screen: int = 1440  # pixels across; not part of what is shared, only of how it is drawn

    @classmethod
    def of(
        cls, path: str | None, search: str | None, theme: str | None, zone: str | None, screen: int | None = None
    ) -> Address:
        """Read what the browser shows; anything overlong is cut."""
        pairs = parse_qsl((search or "").removeprefix("?")[:4000], max_num_fields=30)
        chosen = {key[:40]: value[:_MOST_TEXT] for key, value in pairs}
        wide = screen if isinstance(screen, int) and 200 <= screen <= 10_000 else 1440
        return cls((path or "/")[:200], chosen, theme or "light", zone or "UTC", wide)

    @property
    def zone(self) -> tzinfo:
        """The reader's time zone."""
        return zone_of(self.zone_name)

    @property
    def search(self) -> str:
        """The parameters as the browser writes them."""
        return "?" + urlencode(dict(self.parameters)) if self.parameters else ""

    def get(self, name: str, default: str = "") -> str:
        """Return one parameter."""
        return self.parameters.get(name) or default

    def with_(self, **changes: str | None) -> Address:
        """Return this address with parameters set, or removed where None or empty."""
        merged = {**self.parameters, **{k: v for k, v in changes.items() if v}}
        for key, value in changes.items():
            if not value:
                merged.pop(key, None)
        return replace(self, parameters=merged)
