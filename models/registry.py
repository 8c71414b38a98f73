"""Which stored model decides, which one is tried beside it, and which decided before."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from coldaisle.config import Section
from coldaisle.errors import ConfigError
from models.artefact import CARD_FILE, NAME, WEIGHTS_FILE, Card, load, read_card

FORMAT = 1
REGISTRY_FILE = "registry.json"
KEPT_NOTES = 200
"""Lines of history of each job; older ones go."""
KEPT_MODELS = 10
"""Artefacts of each job that are neither champion nor challenger nor a champion of before."""

JOBS = {"nhits": "forecast", "tft": "forecast"}
"""Kinds that do one job share its champion; every other kind is a job by itself."""

Action = Literal["added", "promoted", "rolled back", "shadowed", "unshadowed"]
Standing = Literal["champion", "challenger", "earlier", "stored"]


def job_of(kind: str) -> str:
    """Return the job that models of ``kind`` do."""
    return JOBS.get(kind, kind)


class Note(Section):
    """One line of a job's history; ``at`` is Unix ns."""

    model_config = ConfigDict(strict=True)

    at: int
    action: Action
    version: str | None  # None = no model: the way without one decides
    before: str | None
    reason: str


class Live(Section):
    """What a model scored while it ran in the pipeline, beside the other one; ``at`` is Unix ns."""

    model_config = ConfigDict(strict=True)

    at: int
    scores: dict[str, float]


class Job(Section):
    """Who does one job. ``champions`` in the order in which they were promoted; the last one decides."""

    model_config = ConfigDict(strict=True)

    champions: list[str] = Field(default_factory=list)
    challenger: str | None = None
    history: list[Note] = Field(default_factory=list)
    live: dict[str, Live] = Field(default_factory=dict)

    @property
    def champion(self) -> str | None:
        """The version that decides."""
        return self.champions[-1] if self.champions else None


class _File(Section):
    model_config = ConfigDict(strict=True)

    format: int
    jobs: dict[str, Job]


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored model as people see it; without a card where it is refused, with the reason."""

    job: str
    version: str
    path: Path
    standing: Standing
    card: Card | None
    refused: str = ""


class Registry:
    """
    A folder of models: ``JOB/VERSION/`` for each, and ``registry.json``, which appears whole or not at all.

    Several processes may use it at once: who changes it holds a lock, who reads sees the last whole state. A model
    that cannot be loaded is refused and never decides; the champion, or the last one before it that can, stays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refused: dict[Path, str] = {}
        self._checked: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._last = _File(format=FORMAT, jobs={})

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    @property
    def refused(self) -> list[tuple[Path, str]]:
        """What was asked for and could not be used, with the reason, newest state of each."""
        return sorted(self._refused.items())

    def refuse(self, path: Path, why: str) -> None:
        """Take note that a model which could be loaded is of no use all the same."""
        self._refused[path] = why

    def jobs(self) -> list[str]:
        """Return the jobs that anything is known of."""
        return sorted({*self._known().jobs, *self._stored_jobs()})

    def job(self, kind: str) -> Job:
        """Return who does the job of ``kind``, and what was done before."""
        return self._known().jobs.get(job_of(kind), Job())

    def place(self, kind: str, version: str) -> Path:
        """Return where a model of this name belongs; nothing need be there. Raises ConfigError for an odd name."""
        for word in (kind, version):
            if not NAME.fullmatch(word):
                raise ConfigError(f"{word!r} names no model; `coldaisle models list` shows the names")
        return self._folder / job_of(kind) / version

    def champion(self, kind: str) -> Path | None:
        """
        Return the model that decides, or None where there is none; ``kind`` may be a kind or a job.

        Where the champion cannot be loaded, the last one before it that can is returned and the reason stands in
        ``refused``. Never raises: without a model the pipeline goes its way without one.
        """
        for version in reversed(self.job(kind).champions):
            path = self.place(kind, version)
            if self._accepts(path):
                return path
        return None

    def challenger(self, kind: str) -> Path | None:
        """Return the model that is tried in the champion's shadow, or None. Never raises."""
        version = self.job(kind).challenger
        if version is None:
            return None
        path = self.place(kind, version)
        return path if self._accepts(path) else None

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Return every stored model, or those of one job, newest first; what cannot be loaded with its reason."""
        found: list[Entry] = []
        for name in self.jobs() if kind is None else [job_of(kind)]:
            job = self.job(name)
            named = {*job.champions, *([job.challenger] if job.challenger else ())}
            versions = sorted(named | set(self._stored(name)), reverse=True)
            found += [self._entry(name, version, job) for version in versions]
        return found

    def add(self, path: Path, now_ns: int, reason: str = "") -> Path:
        """
        Take a model in as challenger; copy it where it lies elsewhere. Return its place.

        Raises ConfigError where it cannot be loaded or its name is taken; everything then stays as it was.
        """
        card = read_card(path)
        load(path, card.kind)
        place = self.place(card.kind, card.version)
        with self._change() as jobs:
            if path.resolve() != place.resolve():
                self._copy(path, place)
            job = jobs.get(job_of(card.kind), Job())
            note = Note(at=now_ns, action="added", version=card.version, before=job.challenger, reason=reason)
            jobs[job_of(card.kind)] = _noted(job, note, challenger=card.version)
            self._drop_old(job_of(card.kind), jobs[job_of(card.kind)])
        return place

    def promote(self, kind: str, version: str, reason: str, now_ns: int) -> None:
        """Let a stored model decide. Raises ConfigError where it cannot be loaded; the champion then stays."""
        self._must_load(kind, version)
        with self._change() as jobs:
            job = jobs.get(job_of(kind), Job())
            if job.champion == version:
                raise ConfigError(f"{version}: is the champion already; nothing to promote")
            note = Note(at=now_ns, action="promoted", version=version, before=job.champion, reason=reason)
            champions = [*(each for each in job.champions if each != version), version][-KEPT_MODELS:]
            challenger = None if job.challenger == version else job.challenger
            jobs[job_of(kind)] = _noted(job, note, champions=champions, challenger=challenger)

    def rollback(self, kind: str, reason: str, now_ns: int) -> str | None:
        """
        Go back to the champion before; return its version, None = no model decides from now on.

        Champions of before that cannot be loaded are passed over. Raises ConfigError where no model decides now.
        """
        with self._change() as jobs:
            job = jobs.get(job_of(kind), Job())
            if not job.champions:
                raise ConfigError(f"{job_of(kind)}: no model decides, so there is nothing to go back from")
            left = job.champions[:-1]
            while left and not self._accepts(self.place(kind, left[-1])):
                left = left[:-1]
            back = left[-1] if left else None
            note = Note(at=now_ns, action="rolled back", version=back, before=job.champion, reason=reason)
            jobs[job_of(kind)] = _noted(job, note, champions=left)
        return back

    def shadow(self, kind: str, version: str | None, reason: str, now_ns: int) -> None:
        """Try a stored model beside the champion without letting it decide; None = none. Raises ConfigError."""
        if version is not None:
            self._must_load(kind, version)
        with self._change() as jobs:
            job = jobs.get(job_of(kind), Job())
            if version is not None and version == job.champion:
                raise ConfigError(f"{version}: is the champion; a model cannot be its own challenger")
            action: Action = "unshadowed" if version is None else "shadowed"
            note = Note(at=now_ns, action=action, version=version, before=job.challenger, reason=reason)
            jobs[job_of(kind)] = _noted(job, note, challenger=version)

    def note_live(self, kind: str, scores: Mapping[str, Mapping[str, float]], now_ns: int) -> None:
        """Keep what models of one job scored while they ran beside each other: {version: {score: value}}."""
        with self._change() as jobs:
            job = jobs.get(job_of(kind), Job())
            live = {version: Live(at=now_ns, scores=dict(each)) for version, each in scores.items()}
            jobs[job_of(kind)] = job.model_copy(update={"live": {**job.live, **live}})

    # What stands in the folder.

    def _entry(self, job_name: str, version: str, job: Job) -> Entry:
        path = self._folder / job_name / version
        standing: Standing = (
            "champion" if version == job.champion
            else "challenger" if version == job.challenger
            else "earlier" if version in job.champions
            else "stored"
        )  # fmt: skip
        if not self._accepts(path):
            return Entry(job_name, version, path, standing, None, self._refused[path])
        return Entry(job_name, version, path, standing, read_card(path))

    def _stored_jobs(self) -> list[str]:
        return [one.name for one in _folders(self._folder) if NAME.fullmatch(one.name)]

    def _stored(self, job_name: str) -> list[str]:
        return [one.name for one in _folders(self._folder / job_name) if NAME.fullmatch(one.name)]

    def _accepts(self, path: Path) -> bool:
        """Say whether the model can be loaded; look again only where its files have changed."""
        signature = _signature(path)
        known = self._checked.get(path)
        if known is None or known[0] != signature:
            try:
                card = read_card(path)
                if job_of(card.kind) != path.parent.name:
                    raise ConfigError(f"{path}: holds a model of kind {card.kind!r}; move it to {job_of(card.kind)}/")
                if card.version != path.name:
                    raise ConfigError(f"{path}: holds version {card.version}; give the folder that name")
                load(path, card.kind)
                why = ""
            except ConfigError as error:
                why = str(error)
            known = self._checked[path] = signature, why
        if known[1]:
            self._refused[path] = known[1]
        else:
            self._refused.pop(path, None)
        return not known[1]

    def _must_load(self, kind: str, version: str) -> None:
        path = self.place(kind, version)
        if not self._accepts(path):
            raise ConfigError(f"{self._refused[path]}; nothing was changed")

    def _copy(self, path: Path, place: Path) -> None:
        if place.exists():
            raise ConfigError(f"{place}: a model of this name is already there; it is not written over")
        beside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        try:
            shutil.copytree(path, beside)
            load(beside, read_card(beside).kind)
            beside.rename(place)
        except OSError as error:
            raise ConfigError(f"{place}: cannot be written ({error.strerror}); free space or give it to us") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _drop_old(self, job_name: str, job: Job) -> None:
        needed = {*job.champions, job.challenger}
        idle = sorted(version for version in self._stored(job_name) if version not in needed)
        for version in idle[: max(0, len(idle) - KEPT_MODELS)]:
            shutil.rmtree(self._folder / job_name / version, ignore_errors=True)

    # The file.

    def _known(self) -> _File:
        """Return what the file says; where it cannot be read, what it said last, with the reason in ``refused``."""
        path = self._folder / REGISTRY_FILE
        try:
            self._last = self._read()
            self._refused.pop(path, None)
        except ConfigError as error:
            self._refused[path] = str(error)
        return self._last

    def _read(self) -> _File:
        path = self._folder / REGISTRY_FILE
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _File(format=FORMAT, jobs={})
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from error
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: is not JSON ({error}); move it away and promote a model again") from error
        if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > FORMAT:
            raise ConfigError(f"{path}: was written by a newer Coldaisle (format {told['format']}); upgrade this one")
        try:
            return _File.model_validate(told)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: {where}: {first['msg']}; move it away and promote a model again") from error

    @contextmanager
    def _change(self) -> Iterator[dict[str, Job]]:
        """Read, let the caller change the jobs, write; nobody else changes them meanwhile."""
        path = self._folder / REGISTRY_FILE
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"{self._folder}: cannot be written ({error.strerror}); name another folder") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            jobs = dict(self._read().jobs)
            yield jobs
            document = _File(format=FORMAT, jobs=jobs)
            beside = path.with_suffix(".tmp")
            try:
                with beside.open("w", encoding="utf-8") as file:
                    file.write(document.model_dump_json(indent=2) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(path)
            except OSError as error:
                raise ConfigError(f"{path}: cannot be written ({error.strerror}); free space") from error
            self._last = document
        finally:
            os.close(lock)  # lets go of it


def _noted(job: Job, note: Note, **changes: object) -> Job:
    return job.model_copy(update={**changes, "history": [*job.history, note][-KEPT_NOTES:]})


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(one for one in path.iterdir() if one.is_dir())
    except OSError:  # not there yet
        return []


def _signature(path: Path) -> tuple[int, ...]:
    parts: list[int] = []
    for name in (CARD_FILE, WEIGHTS_FILE):
        try:
            told = (path / name).stat()
        except OSError:
            parts.append(-1)
        else:
            parts += [told.st_mtime_ns, told.st_size, told.st_ino]
    return tuple(parts)
