"""Say what is wrong, where, since when, why it is believed, how far it reaches and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from coldaisle.clock import MINUTE
from coldaisle.severity import Severity
from coldaisle.topology import kind_of, name_of
from pipeline.alerting.correlate import STRONG, anchor
from pipeline.alerting.graph import Graph
from pipeline.alerting.suspects import Verdict
from pipeline.alerting.symptoms import Symptom, plausible
from pipeline.alerting.track import Track
from pipeline.alerting.words import at, called, capital, counts, duration, kind_word, names, number, sentence
from pipeline.words import entity_phrase

_MOST_REASONS = 12
_CONDITION = {
    Symptom.THERMAL: "too warm or short of cooling",
    Symptom.POWER: "showing power trouble",
    Symptom.SILENCE: "silent",
    Symptom.LINK: "showing link errors",
    Symptom.DEVICE: "reporting device faults",
    Symptom.SPEED: "slower than expected",
    Symptom.SENSOR: "sending readings that cannot be right",
    Symptom.OTHER: "unusual",
}
_EFFECT = {
    Symptom.THERMAL: "warms",
    Symptom.POWER: "is short of power",
    Symptom.LINK: "loses links",
    Symptom.SPEED: "slows down",
}
_ALTERNATIVES = {
    Symptom.SILENCE: "Telemetry alone cannot tell whether power, the network or the collecting path failed",
    Symptom.THERMAL: "cooling, air or coolant flow, or a change of load",
    Symptom.POWER: "a feed, a breaker or a power cap",
    Symptom.LINK: "a switch, its optics or its firmware",
    Symptom.SPEED: "the job itself, storage, or a shared limit on power or heat",
}


@dataclass(frozen=True, slots=True)
class Account:
    """The words of an incident."""

    title: str
    explanation: str
    reasons: tuple[str, ...]
    action: str
    runbook: str


def explain(tracks: Sequence[Track], verdict: Verdict, graph: Graph, now: int) -> Account:
    """Return the words for a group of alerts whose suspect is ``verdict.suspect``."""
    return _Teller(tracks, verdict, graph, now).account()


def ranked(tracks: Sequence[Track], suspect: str) -> list[Track]:
    """Return ``tracks`` with the strongest evidence first; what was seen on the suspect before the rest."""
    return sorted(
        tracks,
        key=lambda t: (-t.severity.rank, t.entity != suspect, -t.strength, t.starts_at, t.name, t.entity),
    )


class _Teller:
    def __init__(self, tracks: Sequence[Track], verdict: Verdict, graph: Graph, now: int) -> None:
        self._verdict, self._graph, self._now = verdict, graph, now
        self._suspect = verdict.suspect
        worth = [track for track in tracks if track.severity is not Severity.INFO]
        self._tracks = ranked(worth or tracks, self._suspect)
        self._all = tracks
        self._on_suspect = [track for track in self._tracks if anchor(track, graph) == self._suspect]
        self._silent = [track for track in self._tracks if track.symptom is Symptom.SILENCE]
        self._places = list(dict.fromkeys(place for track in self._tracks for place in track.places))
        self._subjects = list(dict.fromkeys(place for track in self._tracks for place in track.subjects))

    def account(self) -> Account:
        lead = (self._on_suspect or self._tracks)[0]
        return Account(
            title=self._title(),
            explanation=self._explanation(),
            reasons=self._reasons(),
            action=self._action(),
            runbook=next((t.best.runbook for t in (lead, *self._tracks) if t.best.runbook), ""),
        )

    # -- what ----------------------------------------------------------------------------------------------------

    def _title(self) -> str:
        silent = list(dict.fromkeys(place for track in self._silent for place in track.subjects))
        if len(silent) >= 2 and 2 * len(silent) > len(self._subjects) and not self._strong_other_than_silence():
            return self._silence_title(silent)
        if self._on_suspect:
            lead = self._on_suspect[0]
            cut = any(t.symptom is Symptom.LINK and kind_of(t.entity) == "port" for t in self._tracks)
            if lead.symptom is Symptom.SILENCE and kind_of(self._suspect) == "node" and cut:
                return f"{self._begin(self._suspect)} fell silent and its link is down"
            return self._direct_title(lead)
        return self._shared_title()

    def _strong_other_than_silence(self) -> bool:
        return any(t.strength >= STRONG and t.symptom is not Symptom.SILENCE for t in self._on_suspect)

    def _silence_title(self, silent: Sequence[str]) -> str:
        starts = sorted(t.starts_at for t in self._silent)
        spread = starts[len(starts) * 98 // 100] - starts[0]
        kind, _ = Counter(kind_of(one) for one in silent).most_common(1)[0]
        many = sum(1 for one in silent if kind_of(one) == kind)
        total = self._graph.reach_counts(self._suspect)[kind]
        where = "" if kind_of(self._suspect) in ("site", kind) else f" of {called(self._suspect)}"
        if total == many and (kind_of(self._suspect) != "site" or self._graph.topology.children(self._suspect)):
            who = f"All {many:,} {kind_word(kind, many)}{where}" if many > 2 else f"Both {kind_word(kind, 2)}{where}"
        elif total > many:
            who = f"{many:,} of {total:,} {kind_word(kind, total)}{where}"
        else:
            who = f"{many:,} {kind_word(kind, many)}"
        return f"{who} fell silent within {duration(spread)}" if spread < 10 * MINUTE else f"{who} are silent"

    def _direct_title(self, lead: Track) -> str:
        what = self._said(lead)
        others = self._consequences()
        if not others:
            return what
        effect = Counter(track.symptom for track in others).most_common(1)[0][0]
        units = list(dict.fromkeys(place for track in others for place in track.places))
        if len(units) < 2 or {self._graph.unit(one) for one in units} == {self._graph.unit(self._suspect)}:
            return what
        where = self._common_place(units)
        if where is not None and effect in _EFFECT and where != self._suspect:
            warms = effect is not Symptom.THERMAL or any("temperature" in str(t.best.series) for t in others)
            return f"{self._begin(where)} {_EFFECT[effect] if warms else 'loses cooling'}: {what}"
        return f"{what}; {self._counted(units)} affected"

    def _said(self, track: Track) -> str:
        text = self._plain(track, track.best.summary or track.best.explanation)
        more = len(track.series) - 1
        if more > 0:
            text += f" ({more + 1:,} sensors)"
        return text or f"{track.name} on {self._called(track.entity)}"

    def _consequences(self) -> list[Track]:
        return [track for track in self._tracks if track not in self._on_suspect]

    def _common_place(self, places: Sequence[str]) -> str | None:
        """The one rack or row that the suspect serves or that holds all of ``places``."""
        for served in self._graph.topology.targets(self._suspect):
            if kind_of(served) in ("rack", "row"):
                return served
        for kind in ("rack", "row"):
            found = {self._graph.topology.within(place, kind) for place in places}
            if len(found) == 1:
                return next(iter(found))
        return None

    def _called(self, entity: str) -> str:
        """As people say it: a GPU by its slot and node, since nobody knows a UUID by heart."""
        known = self._graph.topology.get(entity)
        node = self._graph.unit(entity)
        if kind_of(entity) == "gpu" and known is not None and "index" in known.attributes and node != entity:
            return f"GPU {known.attributes['index']} of {name_of(node)}"
        return called(entity)

    def _begin(self, entity: str) -> str:
        return capital(self._called(entity))

    def _named(self, entities: Sequence[str]) -> str:
        return names([f"x/{self._called(one)}" if kind_of(one) == "gpu" else one for one in entities])

    def _plain(self, track: Track, text: str) -> str:
        """What a rule says, with the entity as people call it."""
        said = text.strip().rstrip(".")
        return said.replace(entity_phrase(track.entity), self._called(track.entity))

    def _counted(self, places: Sequence[str]) -> str:
        """``64 GPUs in 8 nodes``, or the counts by kind."""
        inside = [place for place in places if self._graph.unit(place) != place]
        nodes = {self._graph.unit(place) for place in inside} | {p for p in places if kind_of(p) == "node"}
        others = [place for place in places if place not in nodes and self._graph.unit(place) == place]
        if not inside:
            return counts(places)
        held = f"{counts(inside)} in {counts(nodes)}"
        return f"{counts(others)}, {held}" if others else held

    def _shared_title(self) -> str:
        symptom = Counter(track.symptom for track in self._tracks).most_common(1)[0][0]
        units = list(dict.fromkeys(self._graph.unit(place) for place in self._places))
        kind, many = Counter(kind_of(unit) for unit in units).most_common(1)[0]
        total = self._graph.reach_counts(self._suspect)[kind]
        share = f"{many:,} of {total:,}" if total > many else f"All {many:,}" if total == many > 1 else f"{many:,}"
        where = "" if self._suspect == "site/site" else f" of {called(self._suspect)}"
        if len(units) == 1:
            if len({(track.name, kind_of(track.entity)) for track in self._tracks}) == 1 and len(self._tracks) > 1:
                # One rule on several parts of a node: its own words are plainer than the name of a symptom.
                part = kind_word(kind_of(self._tracks[0].entity), 1)
                rest = number(len(self._tracks) - 1, f"more {part}")
                return f"{self._said(self._tracks[0])}, and {rest} of {called(units[0])}"
            parts = counts(place for place in self._places if place != units[0])
            return f"{self._begin(units[0])}: {parts} {_CONDITION[symptom]}" if parts else self._said(self._tracks[0])
        return f"{share} {kind_word(kind, max(many, total))}{where} are {_CONDITION[symptom]}"

    # -- why -----------------------------------------------------------------------------------------------------

    def _explanation(self) -> str:
        first = min(track.starts_at for track in self._tracks)
        lead = (self._on_suspect or self._tracks)[0]
        told = self._plain(lead, lead.best.explanation) or self._said(lead)
        if not self._on_suspect and len(self._places) > 1:
            told = self._title()
        parts = [sentence(told), f"First evidence at {at(first)}."]
        reached = [place for place in self._places if place != self._suspect]
        if len(reached) > 1:
            how = self._by_symptom()
            parts.append(f"It reaches {self._counted(reached)}{': ' if how else ''}{how}.")
        gone = self._recovery()
        if gone:
            parts.append(gone)
        parts.append(self._belief())
        unknown = self._unknown()
        if unknown:
            parts.append(unknown)
        return " ".join(parts)

    def _by_symptom(self) -> str:
        found: dict[Symptom, set[str]] = {}
        for track in self._tracks:
            found.setdefault(track.symptom, set()).update(track.subjects)
        ordered = sorted(found.items(), key=lambda item: -len(item[1]))
        several = [(s, places - {self._suspect}) for s, places in ordered]
        return "; ".join(f"{counts(sorted(places))} {_CONDITION[s]}" for s, places in several if places)

    def _recovery(self) -> str:
        held = [track for track in self._tracks if track.firing]
        if not held:
            return "Every alert has ended."
        subjects = set(self._subjects)
        now = {place for track in held for place in (track.holding or track.subjects)} & subjects
        back = [place for place in self._subjects if place not in now]
        if not back:
            return ""
        return f"{capital(counts(back))} recovered, {counts(sorted(now))} did not yet."

    def _belief(self) -> str:
        suspect, begin = self._called(self._suspect), self._begin(self._suspect)
        sure = f"confidence {100 * self._verdict.confidence:.0f} %"
        if self._on_suspect:
            if len(self._tracks) == len(self._on_suspect):
                return f"All evidence is on {suspect} itself ({sure})."
            share = f"{100 * self._verdict.coverage:.0f} %"
            return f"{begin} is suspected: it has evidence of its own and can explain {share} of the alerts ({sure})."
        if self._suspect == "site/site":
            return f"Nothing smaller than the site explains all of it ({sure})."
        return (
            f"{begin} is suspected only because it is what the affected have in common; "
            f"nothing was seen on it directly ({sure})."
        )

    def _unknown(self) -> str:
        if self._silent and not self._strong_other_than_silence():
            rest = _ALTERNATIVES[Symptom.SILENCE]
            shared = self._rivals()
            return f"{rest}{f'; {names(shared)} would explain it too' if shared else ''}."
        if self._on_suspect or self._suspect == "site/site":
            return ""
        symptom = self._tracks[0].symptom
        shared = self._rivals()
        if shared:
            return f"{names(shared)} would explain it too."
        return f"Possible causes: {_ALTERNATIVES[symptom]}." if symptom in _ALTERNATIVES else ""

    def _rivals(self) -> list[str]:
        """Other plausible causes shared by everything that is affected."""
        symptom = self._tracks[0].symptom
        shared: set[str] | None = None
        for place in self._places[:200]:
            mine = set(self._graph.causes(place))
            shared = mine if shared is None else shared & mine
        wide = {self._suspect, *self._graph.topology.ancestors(self._suspect), self._graph.site(self._suspect)}
        return sorted(
            one
            for one in (shared or set()) - wide - set(self._places)
            if kind_of(one) not in ("site", "row") and plausible(one, symptom) >= 0.5
        )

    def _reasons(self) -> tuple[str, ...]:
        groups: dict[tuple[str, str], list[Track]] = {}
        for track in self._tracks:
            groups.setdefault((track.name, kind_of(track.entity)), []).append(track)
        lines: dict[str, None] = {}
        for tracks in groups.values():
            lines[self._reason(tracks)] = None
        shown = list(lines)
        if len(shown) > _MOST_REASONS:
            shown = [*shown[: _MOST_REASONS - 1], f"{len(shown) - _MOST_REASONS + 1} further kinds of evidence"]
        return tuple(shown)

    def _reason(self, tracks: Sequence[Track]) -> str:
        lead = tracks[0]
        said = self._plain(lead, lead.best.explanation or lead.best.summary) or lead.name
        if len(tracks) == 1:
            if len(lead.series) > 1:
                listed = names([f"x/{one}" for one in lead.series])
                return f"{len(lead.series):,} sensors of {self._called(lead.entity)} ({listed}): {said}"
            again = f" ({lead.occurrences} times)" if lead.occurrences > 1 and lead.best.detector == "event" else ""
            if len(lead.members) > 1:
                return f"{said} ({self._named(lead.members)})"
            return said + again
        kinds = f"{len(tracks):,} {kind_word(kind_of(lead.entity), len(tracks))}"
        return f"{kinds} ({self._named([t.entity for t in tracks])}), the strongest: {said}"

    # -- what to do ------------------------------------------------------------------------------------------------

    def _action(self) -> str:
        silent = sum(len(track.subjects) for track in self._silent)
        if silent >= 5 and 2 * silent > len(self._subjects) and not self._strong_other_than_silence():
            suspect = "the site" if kind_of(self._suspect) == "site" else called(self._suspect)
            return (
                f"Find out which it is: look whether some of them (say {name_of(self._subjects[0])}) answer to ping, "
                "and their management controllers. If so, mend the collecting path; if not, check power and network "
                f"of {suspect}."
            )
        for track in (*self._on_suspect, *self._tracks):
            if track.best.action:
                return track.best.action
        return f"Look at {self._called(self._suspect)}: {sentence(self._said(self._tracks[0]))}"
