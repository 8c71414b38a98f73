"""Writes what changed of the incidents, with their notifications and the role's state, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coldaisle.errors import Transient
from coldaisle.incident import Incident, IncidentState, TimelineEntry
from coldaisle.prediction import Prediction
from coldaisle.store import Conflict, Notification, RoleState
from pipeline.alerting.desk import Desk, Notify
from pipeline.alerting.lifecycle import Case, Step, compose
from pipeline.alerting.people import People

_TRIES = 4
StateOf = Callable[[], RoleState | None]


@dataclass(frozen=True, slots=True)
class _Before:
    """What a case was before it was taken as written."""

    case: Case
    incident: Incident
    lines: tuple[TimelineEntry, ...]
    steps: tuple[tuple[Step, str], ...]
    due: int | None
    told: tuple[bool, int, object, int]


class Writing:
    """One round: every incident that is due, all or nothing."""

    def __init__(self, desk: Desk, people: People, notify: Notify) -> None:
        self._desk = desk
        self._people = people
        self._notify = notify
        self._foretold: list[Prediction] = []  # waiting to be written
        self.wrote = False  # whether the last round wrote anything, the role's state among it

    def foretell(self, prediction: Prediction) -> None:
        """Write a prediction, or what became of it, with the next round."""
        self._foretold.append(prediction)

    def begin_anew(self) -> None:
        """Forget what waits to be written: it will be heard again."""
        self._foretold = []

    def round(self, now: int, state: StateOf, always: bool = False) -> list[Incident]:
        """
        Write what is due at ``now``; return it as it is stored.

        ``state`` is asked for the role's state as it is once all is written; with ``always`` it is written even
        where no incident is due. Raises Transient when the store is away or another process holds the role:
        then all of it still waits to be written, unless only the answer was lost.
        """
        self.wrote = False
        due = [case for case in self._desk.papers.cases.values() if case.due is not None and case.due <= now]
        for case in due:
            case.tell_bursts(now, self._desk.settings)
        closed: list[Incident] = []
        for remaining in reversed(range(_TRIES)):
            try:
                return closed + self._write(due, now, state, always)
            except Conflict:
                changed = self._changed_by_others(due)
                if not changed or not remaining:
                    raise
                for case, newest in changed:
                    self._desk.stats.add("alerting_writes_repeated_total")
                    self._people.adopt_changes(case, newest, now)
                    if newest.state is not IncidentState.RESOLVED:
                        continue
                    if any(step is Step.REOPEN for step, _ in case.steps):
                        self._desk.papers.cases[newest.id] = case
                        self._desk.papers.over.pop(newest.id, None)
                        continue
                    due.remove(case)  # a person closed it meanwhile, and that stands
                    closed.append(newest)
        raise AssertionError("unreachable")

    def _write(self, due: Sequence[Case], now: int, state: StateOf, always: bool) -> list[Incident]:
        desk = self._desk
        changes: list[tuple[Incident, Sequence[Notification]]] = []
        before: list[_Before] = []
        order, over = list(desk.papers.cases), dict(desk.papers.over)
        for case in due:
            incident, kinds = compose(case, desk.graph, desk.mute, desk.settings, now)
            changes.append((incident, self._messages(incident, kinds)))
            before.append(_before(case))
            self._written(case, incident, bool(kinds), now)
        try:
            stored: list[Incident] = []
            if changes or always or self._foretold:
                stored = desk.store.save_round(changes, state(), self._foretold)
                self.wrote = True
        except Transient:
            desk.stats.add("alerting_writes_failed_total")
            for one in before:
                _put_back(one)
                desk.papers.cases[one.incident.id] = one.case
            desk.papers.cases = {key: desk.papers.cases[key] for key in order}
            desk.papers.over = over
            raise
        self._foretold = []
        for case, incident in zip(due, stored, strict=True):
            case.incident = incident
        desk.stats.set("alerting_open_incidents", float(len(desk.papers.cases)))
        return stored

    def _written(self, case: Case, incident: Incident, told: bool, now: int) -> None:
        """Take a case as written, before it is, so that the state in the same transaction already says so."""
        case.expect(incident)
        if told:
            case.told_reach, case.told_severity, case.told_at = len(incident.entities), incident.severity, now
        if incident.state is IncidentState.RESOLVED:
            self._desk.close(incident, now)

    def _changed_by_others(self, due: Sequence[Case]) -> list[tuple[Case, Incident]]:
        """Return which cases somebody else wrote in between, with what they are now. Raises Transient."""
        found = []
        for case in due:
            newest = self._desk.store.get(case.incident.id)
            if newest is not None and newest.version != case.incident.version:
                found.append((case, newest))
        return found

    def _messages(self, incident: Incident, kinds: Sequence[str]) -> list[Notification]:
        if incident.suppressed_by is not None:
            self._desk.stats.add("alerting_notifications_muted_total")
        return [message for kind in kinds for message in self._notify(incident, kind)]


def _before(case: Case) -> _Before:
    told = (case.quiet, case.told_reach, case.told_severity, case.told_at)
    return _Before(case, case.incident, tuple(case.lines), tuple(case.steps), case.due, told)


def _put_back(before: _Before) -> None:
    case = before.case
    case.incident, case.due = before.incident, before.due
    case.lines, case.steps = list(before.lines), list(before.steps)
    case.quiet, case.told_reach, case.told_severity, case.told_at = before.told  # type: ignore[assignment]
