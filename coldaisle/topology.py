"""Who contains, feeds, cools, links and runs whom."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from coldaisle.errors import ConfigError
from coldaisle.series import Labels
from coldaisle.state import Kept, State

KINDS = (
    "site", "row", "rack", "node", "gpu", "nic", "port",
    "switch", "psu", "pdu", "ups", "crac", "cdu", "job",
)  # fmt: skip
"""Every kind of entity; an entity is written ``kind/name``."""

# Which label names the thing itself when a series carries several: the smallest thing first.
_MOST_SPECIFIC = (
    "gpu",
    "nic",
    "port",
    "psu",
    "node",
    "switch",
    "pdu",
    "ups",
    "crac",
    "cdu",
    "rack",
    "row",
    "job",
    "site",
)
# Names of these are often unique only within their node (psu0, mlx5_0, GPU index 3).
_LOCAL = frozenset({"gpu", "nic", "port", "psu"})


class RelationKind(StrEnum):
    """How a source acts on a target, beside containing it."""

    FEEDS = "feeds"
    COOLS = "cools"
    LINKS = "links"
    RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Entity:
    """A thing of the hall."""

    kind: str
    name: str
    parent: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``kind/name``."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Relation:
    """``source`` feeds, cools, links or runs ``target``; a job *runs* its nodes."""

    kind: RelationKind
    source: str
    target: str


def kind_of(entity: str) -> str:
    """Return the kind of ``kind/name``."""
    return entity.partition("/")[0]


def name_of(entity: str) -> str:
    """Return the name of ``kind/name``."""
    return entity.partition("/")[2]


class Topology:
    """
    The physical graph. Grows as telemetry mentions entities that no file declared.

    Not thread-safe: one role owns one topology.
    """

    def __init__(self, entities: Iterable[Entity] = (), relations: Iterable[Relation] = ()) -> None:
        self._entities: dict[str, Entity] = {}
        self._children: dict[str, list[str]] = {}
        self._out: dict[str, list[Relation]] = {}
        self._in: dict[str, list[Relation]] = {}
        self.version = 0
        self._added: list[Entity] = []  # since the file
        self._text = bytearray()  # of the first ``_texted`` of them
        self._texted = 0
        self._out_before: dict[str, tuple[Relation, ...]] = {}  # of sources whose relations have changed since the file
        self._in_touched: dict[str, None] = {}  # targets whose relations have
        self._declaring = True
        for entity in entities:
            self.add(entity)
        for relation in relations:
            self.relate(relation)
        self._declaring = False
        self._declared = len(self._entities)  # those come first
        self._file = ""  # its digest, worked out when it is asked for
        self.moved = False
        """Whether it was restored on top of another file than it was kept with: peers must be grouped anew."""

    def __contains__(self, entity: str) -> bool:
        return entity in self._entities

    def __len__(self) -> int:
        return len(self._entities)

    def __iter__(self) -> Iterator[Entity]:
        return iter(tuple(self._entities.values()))

    def get(self, entity: str) -> Entity | None:
        """Return what is known of ``kind/name``."""
        return self._entities.get(entity)

    def of_kind(self, kind: str) -> list[Entity]:
        """Return all entities of ``kind`` in the order in which they were added."""
        return [entity for entity in self._entities.values() if entity.kind == kind]

    def relations(self) -> list[Relation]:
        """Return every relation."""
        return [relation for several in self._out.values() for relation in several]

    def add(self, entity: Entity) -> None:
        """Add or replace an entity."""
        old = self._entities.get(entity.id)
        if not self._declaring:
            if old is not None:
                self._digest()  # while the file can still be told
            self._added.append(entity)
        if old is not None and old.parent is not None:
            self._children[old.parent].remove(entity.id)
        self._entities[entity.id] = entity
        if entity.parent is not None:
            self._children.setdefault(entity.parent, []).append(entity.id)
        self.version += 1

    def relate(self, relation: Relation) -> None:
        """Add a relation, once."""
        if relation in self._out.get(relation.source, ()):
            return
        self._touch_out(relation.source)
        self._out.setdefault(relation.source, []).append(relation)
        self._in.setdefault(relation.target, []).append(relation)
        if not self._declaring:
            self._in_touched[relation.target] = None
        self.version += 1

    def unrelate(self, kind: RelationKind, source: str) -> None:
        """Remove all relations of ``kind`` that start at ``source``: a job that has ended runs nothing."""
        gone = [relation for relation in self._out.get(source, ()) if relation.kind is kind]
        if not gone:
            return
        self._touch_out(source)
        self._out[source] = [relation for relation in self._out[source] if relation.kind is not kind]
        for relation in gone:
            self._in_touched[relation.target] = None
            self._in[relation.target].remove(relation)
        self.version += 1

    def observe(self, labels: Labels) -> str:
        """Return the entity that ``labels`` speak of, adding it (and its node) where it is new."""
        entity = self.entity_of(labels)
        if entity not in self._entities:
            pairs = dict(labels)
            kind = kind_of(entity)
            parent: str | None = None
            if kind in _LOCAL and "node" in pairs:
                parent = self.observe((("node", pairs["node"]),))
            elif kind == "node" and "rack" in pairs:
                parent = self.observe((("rack", pairs["rack"]),))
            elif kind == "rack" and "row" in pairs:
                parent = self.observe((("row", pairs["row"]),))
            self.add(Entity(kind, name_of(entity), parent))
        return entity

    def entity_of(self, labels: Labels) -> str:
        """
        Return ``kind/name`` of the smallest thing that ``labels`` name.

        A GPU, NIC, port or PSU whose name no file declares and that carries a node is written
        ``psu/n017:psu0``, since such names repeat from node to node; a GPU's UUID does not. Labels that
        name no entity at all belong to ``site/site``.
        """
        pairs = dict(labels)
        for kind in _MOST_SPECIFIC:
            value = pairs.get(kind)
            if not value:
                continue
            entity = f"{kind}/{value}"
            if kind in _LOCAL and "node" in pairs and entity not in self._entities and not value.startswith("GPU-"):
                return f"{kind}/{pairs['node']}:{value}"
            return entity
        return "site/site"

    def parent(self, entity: str) -> str | None:
        """Return what contains ``entity``."""
        known = self._entities.get(entity)
        return known.parent if known else None

    def children(self, entity: str) -> list[str]:
        """Return what ``entity`` contains directly."""
        return list(self._children.get(entity, ()))

    def ancestors(self, entity: str) -> list[str]:
        """Return what contains ``entity``, the nearest first; a cycle in a file ends the walk."""
        chain: list[str] = []
        up = self.parent(entity)
        while up is not None and up not in chain:
            chain.append(up)
            up = self.parent(up)
        return chain

    def within(self, entity: str, kind: str) -> str | None:
        """Return the ancestor (or the entity itself) of ``kind``."""
        for candidate in (entity, *self.ancestors(entity)):
            if kind_of(candidate) == kind:
                return candidate
        return None

    def targets(self, entity: str, kind: RelationKind | None = None) -> list[str]:
        """Return what ``entity`` feeds, cools, links or runs directly."""
        return [r.target for r in self._out.get(entity, ()) if kind is None or r.kind is kind]

    def sources(self, entity: str, kind: RelationKind | None = None) -> list[str]:
        """Return what feeds, cools, links or runs ``entity`` directly."""
        return [r.source for r in self._in.get(entity, ()) if kind is None or r.kind is kind]

    def causes(self, entity: str) -> set[str]:
        """
        Return everything that can harm ``entity``: containers, feeds, coolers, switches, and theirs.

        Includes the entity itself. A job is not a cause of its nodes: it runs on them.
        """
        return self._closure(entity, self._directly_above)

    def reach(self, entity: str) -> set[str]:
        """Return everything that ``entity`` can harm, itself included; the opposite of :meth:`causes`."""
        return self._closure(entity, self._directly_below)

    def _directly_above(self, entity: str) -> list[str]:
        above = [r.source for r in self._in.get(entity, ()) if r.kind is not RelationKind.RUNS]
        up = self.parent(entity)
        return above if up is None else [up, *above]

    def _directly_below(self, entity: str) -> list[str]:
        below = [r.target for r in self._out.get(entity, ()) if r.kind is not RelationKind.RUNS]
        return self._children.get(entity, []) + below

    @staticmethod
    def _closure(entity: str, step: Any) -> set[str]:
        seen = {entity}
        todo = [entity]
        while todo:
            for following in step(todo.pop()):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return seen

    def state(self) -> State:
        """Return what a snapshot keeps: what was learnt since the file, and which file that was."""
        # Only what is new is put into text: a hall may have a hundred thousand entities, and jobs come and go.
        for entity in self._added[self._texted :]:
            self._text += json.dumps(_row(entity), separators=(",", ":")).encode() + b"\n"
        self._texted = len(self._added)
        return {
            "file": self._digest(),
            "version": self.version,
            "added": np.frombuffer(bytes(self._text), np.uint8),
            "out": [
                [source, [[each.kind.value, each.target, each in declared] for each in self._out[source]]]
                for source, declared in self._out_before.items()
            ],
            "in": [
                [target, [[each.kind.value, each.source] for each in self._in[target]]] for target in self._in_touched
            ],
        }

    def restore(self, state: State) -> None:
        """
        Take back what ``state`` returned, in a topology made from the same file. Raises Permanent.

        Where the file has changed since, it is believed, and only what was learnt from telemetry and from jobs is
        added to it; :attr:`moved` then says so.
        """
        kept = Kept(state)
        lines = kept.array("added", np.uint8, None).tobytes().splitlines()
        added = [Entity(*json.loads(line)) for line in lines]
        out = {
            source: [(Relation(RelationKind(kind), source, target), declared) for kind, target, declared in several]
            for source, several in kept.rows("out", str, list)
        }
        self.moved = kept.text("file") != self._digest()
        for entity in added:
            if not self.moved or entity.id not in self._entities:
                self.add(entity)
        if self.moved:
            for several in out.values():
                for relation, declared in several:
                    if not declared:
                        self.relate(relation)
            return
        for source, several in out.items():
            self._touch_out(source)
            self._out[source] = [relation for relation, _ in several]
        for target, rows in kept.rows("in", str, list):
            self._in_touched[target] = None
            self._in[target] = [Relation(RelationKind(kind), source, target) for kind, source in rows]
        self.version = kept.integer("version")

    def _touch_out(self, source: str) -> None:
        """Remember what the file says of ``source``, before something else is learnt."""
        if not self._declaring and source not in self._out_before:
            self._out_before[source] = tuple(self._out.get(source, ()))

    def _digest(self) -> str:
        """Return what tells one file from another."""
        if not self._file:
            entities = [_row(entity) for entity in list(self._entities.values())[: self._declared]]
            relations = [
                [each.kind.value, each.source, each.target]
                for source, several in self._out.items()
                for each in self._out_before.get(source, several)
            ]
            told = json.dumps([sorted(entities, key=str), sorted(relations)], sort_keys=True)
            self._file = blake2b(told.encode(), digest_size=8).hexdigest()
        return self._file

    def to_toml(self) -> str:
        """Return the graph as ``topology.toml``."""
        lines: list[str] = []
        for entity in self._entities.values():
            lines += ["[[entity]]", f"kind = {_quoted(entity.kind)}", f"name = {_quoted(entity.name)}"]
            if entity.parent is not None:
                lines.append(f"parent = {_quoted(entity.parent)}")
            lines += [f"{key} = {_quoted(value)}" for key, value in entity.attributes.items()]
            lines.append("")
        for relation in self.relations():
            lines += [
                "[[relation]]",
                f"kind = {_quoted(relation.kind.value)}",
                f"source = {_quoted(relation.source)}",
                f"target = {_quoted(relation.target)}",
                "",
            ]
        return "\n".join(lines)


def _row(entity: Entity) -> list[Any]:
    return [entity.kind, entity.name, entity.parent, dict(entity.attributes)]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def load(path: Path) -> Topology:
    """Read ``topology.toml``. Raises ConfigError that names the file and the entry."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return Topology(_entities(document, path), _relations(document, path))


def _entities(document: Mapping[str, Any], path: Path) -> Iterator[Entity]:
    for number, row in enumerate(document.get("entity", []), start=1):
        kind, name = str(row.get("kind", "")), str(row.get("name", ""))
        if kind not in KINDS:
            raise ConfigError(f"{path}: entity {number}: kind is {kind!r}; expected one of {', '.join(KINDS)}")
        if not name:
            raise ConfigError(f"{path}: entity {number}: has no name")
        free = {k: str(v) for k, v in row.items() if k not in ("kind", "name", "parent")}
        yield Entity(kind, name, row.get("parent"), free)


def _relations(document: Mapping[str, Any], path: Path) -> Iterator[Relation]:
    for number, row in enumerate(document.get("relation", []), start=1):
        try:
            yield Relation(RelationKind(row["kind"]), row["source"], row["target"])
        except KeyError as error:
            raise ConfigError(f"{path}: relation {number}: lacks {error.args[0]!r}") from error
        except ValueError as error:
            kinds = ", ".join(RelationKind)
            raise ConfigError(f"{path}: relation {number}: kind {row['kind']!r} is none of {kinds}") from error
