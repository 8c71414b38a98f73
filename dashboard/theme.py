"""The colours and type of both themes; colour means severity and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from coldaisle.severity import Severity

FONT: Final = "Inter, 'Segoe UI', 'SF Pro Text', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
MONO: Final = "'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"


@dataclass(frozen=True, slots=True)
class Palette:
    """
    One theme. ``text`` colours are read on ``ground`` and ``surface`` at 4.5:1 or better (WCAG 2.2, 1.4.3).

    ``fill`` colours paint cells of the hall, where shape and hover carry the word.
    """

    name: str
    ground: str
    surface: str
    raised: str
    line: str
    ink: str
    muted: str
    accent: str
    critical: str
    warning: str
    info: str
    fine: str
    unknown: str
    fill_critical: str
    fill_warning: str
    fill_info: str
    fill_fine: str
    fill_unknown: str
    sibling: str
    band: str
    ramp: tuple[str, ...]  # from little to much, one hue: a metric has no severity

    def text(self) -> dict[str, str]:
        """Return every colour that letters are written in."""
        names = ("ink", "muted", "accent", "critical", "warning", "info", "fine", "unknown")
        return {name: getattr(self, name) for name in names}


LIGHT: Final = Palette(
    name="light",
    ground="#f5f6f8",
    surface="#ffffff",
    raised="#eef0f3",
    line="#dde1e7",
    ink="#161a21",
    muted="#566071",
    accent="#3f4fc4",
    critical="#b8122c",
    warning="#8a4d00",
    info="#0a5fa8",
    fine="#1b6e40",
    unknown="#5d6673",
    fill_critical="#d21f3c",
    fill_warning="#eda12f",
    fill_info="#7fb5ea",
    fill_fine="#c9e4d4",
    fill_unknown="#d5d9df",
    sibling="rgba(86,96,113,0.30)",
    band="rgba(86,96,113,0.14)",
    ramp=("#eceef3", "#c3c9dc", "#939dc4", "#6470aa", "#3c4688", "#20285c"),
)
DARK: Final = Palette(
    name="dark",
    ground="#0d1015",
    surface="#151920",
    raised="#1d222b",
    line="#2a303b",
    ink="#e7eaef",
    muted="#9ba5b4",
    accent="#9da8ff",
    critical="#ff7488",
    warning="#f3b04e",
    info="#74b8ff",
    fine="#5bc98d",
    unknown="#98a2af",
    fill_critical="#ef4660",
    fill_warning="#d99325",
    fill_info="#3f7cbd",
    fill_fine="#1e4634",
    fill_unknown="#333a45",
    sibling="rgba(155,165,180,0.32)",
    band="rgba(155,165,180,0.16)",
    ramp=("#1b2029", "#2c3450", "#465290", "#6a78c4", "#97a3e6", "#d3d9fb"),
)


def palette(name: str | None) -> Palette:
    """Return the theme called ``name``; light unless it is ``dark``."""
    return DARK if name == "dark" else LIGHT


@dataclass(frozen=True, slots=True)
class Look:
    """How one severity is shown: always a shape and a word beside the colour."""

    key: str
    shape: str
    word: str


CRITICAL: Final = Look("critical", "●", "Critical")
WARNING: Final = Look("warning", "▲", "Warning")
INFO: Final = Look("info", "◆", "Info")
FINE: Final = Look("fine", "✓", "Fine")
UNKNOWN: Final = Look("unknown", "▨", "No telemetry")


def look(severity: Severity) -> Look:
    """Return how ``severity`` is shown: page = critical, ticket = warning."""
    return {Severity.PAGE: CRITICAL, Severity.TICKET: WARNING, Severity.INFO: INFO}[severity]


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1..21 (WCAG 2.2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def stylesheet() -> str:
    """Return both palettes as CSS variables; the only place from which the style sheet takes colours."""
    rules = []
    for theme in (LIGHT, DARK):
        names = (*theme.text(), "ground", "surface", "raised", "line", "sibling", "band")
        fills = ("critical", "warning", "info", "fine", "unknown")
        lines = [f"--c-{name}: {getattr(theme, name)};" for name in names]
        lines += [f"--f-{name}: {getattr(theme, f'fill_{name}')};" for name in fills]
        lines.append(f"--ramp: linear-gradient(90deg, {', '.join(theme.ramp)});")
        rules.append(f'[data-mantine-color-scheme="{theme.name}"] {{ {" ".join(lines)} }}')
    return "\n".join(rules)


def mantine() -> dict[str, Any]:
    """Return the theme of the component library."""
    return {
        "fontFamily": FONT,
        "fontFamilyMonospace": MONO,
        "primaryColor": "indigo",
        "primaryShade": {"light": 7, "dark": 4},
        "defaultRadius": "sm",
        "fontSizes": {"xs": "12px", "sm": "13px", "md": "14px", "lg": "16px", "xl": "20px"},
    }
