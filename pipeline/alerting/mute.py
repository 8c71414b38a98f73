"""Decide which firing alerts are quiet, and say why."""

from __future__ import annotations

from collections.abc import Sequence

from coldaisle import matcher
from coldaisle.clock import rfc3339
from coldaisle.matcher import Matcher, all_match
from coldaisle.severity import Severity
from coldaisle.silence import Silence, labels_for_matching
from coldaisle.topology import kind_of, name_of
from pipeline.alerting.correlate import STRONG, anchor
from pipeline.alerting.graph import Graph
from pipeline.alerting.settings import AlertSettings, MaintenanceWindow
from pipeline.alerting.track import Track
from pipeline.alerting.words import called

PLANNED = ("silenced by ", "maintenance until ")
"""How a reason begins that a person has given; what such a reason mutes does not page."""


class Mute:
    """
    The three reasons for being quiet: a silence, a maintenance window, and inhibition.

    Nothing is deleted: a muted alert stays in its incident and says why it is quiet.
    """

    def __init__(self, settings: AlertSettings, graph: Graph) -> None:
        self._graph = graph
        self._windows = [
            (
                matcher.parse(window.matchers),
                MaintenanceWindow.nanoseconds(window.starts_at),
                MaintenanceWindow.nanoseconds(window.ends_at),
                window.comment,
            )
            for window in settings.maintenance
        ]

    def planned(self, track: Track, silences: Sequence[Silence], now: int) -> str | None:
        """Return why people do not want to hear of ``track`` at ``now``, or None."""
        active = [silence for silence in silences if silence.starts_at <= now < silence.ends_at]
        windows = [window for window in self._windows if window[1] <= now < window[2]]
        if not active and not windows:
            return None
        labels = self._labels(track)
        for silence in active:
            if self._fits(silence.matchers, labels, track):
                comment = f": {silence.comment}" if silence.comment else ""
                return f"{PLANNED[0]}{silence.actor} until {rfc3339(silence.ends_at)}{comment}"
        for matchers, _, ends_at, comment in windows:
            if self._fits(matchers, labels, track):
                return f"{PLANNED[1]}{rfc3339(ends_at)}{f': {comment}' if comment else ''}"
        return None

    def inhibited(self, track: Track, suspect: str, suspects: Sequence[Track]) -> str | None:
        """Return that ``track`` follows from the incident's suspect, which pages for it; None for the suspect's own."""
        direct = [one for one in suspects if one.strength >= STRONG and one.severity is not Severity.INFO]
        if not direct or track in suspects or anchor(track, self._graph) == suspect:
            return None
        if track.severity.rank > max(one.severity.rank for one in direct):
            return None  # a consequence worse than its cause speaks for itself
        return f"follows from {direct[0].name} on {called(suspect)}"

    def _labels(self, track: Track) -> dict[str, str]:
        labels = labels_for_matching(track.alert(0, full=False))
        for above in self._graph.topology.ancestors(track.entity):
            labels.setdefault(kind_of(above), name_of(above))  # rack="r12" means all that is in it
        return labels

    @staticmethod
    def _fits(matchers: tuple[Matcher, ...], labels: dict[str, str], track: Track) -> bool:
        if all_match(matchers, labels):
            return True
        # A finding that speaks of many is quiet only when all of them are meant.
        return bool(track.members) and all(
            all_match(matchers, {**labels, "entity": member, kind_of(member): name_of(member)})
            for member in track.members
        )
