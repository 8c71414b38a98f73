"""The simulated hall's things: how many, what they are called, and who contains, feeds, cools and links whom."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from coldaisle.topology import Entity, Relation, RelationKind

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

GPUS_PER_NODE = 8
PSUS_PER_NODE = 4
FANS_PER_NODE = 6
FEED_OF_PSU = np.array([0, 0, 1, 1])
"""2N: two supplies of a node hang on each of the rack's two feeds."""
RACKS_PER_LEAF = 2
GPU_SKU = "NVIDIA H100 80GB HBM3"
SITE = "site"


class Hall:
    """
    Counts, names and index arrays of a hall.

    GPU ``g`` sits in node ``g // 8``; supply ``p`` in node ``p // 4``; node ``n`` has one port, number
    ``n``; rack ``k`` has the feeds (PDUs) ``2k`` and ``2k + 1``; row ``r`` has one cooling unit, ``r``.
    """

    def __init__(self, rows: int, racks_per_row: int, nodes_per_rack: int, cooling: str, seed: int) -> None:
        self.rows, self.racks = rows, rows * racks_per_row
        self.nodes = self.racks * nodes_per_rack
        self.gpus, self.psus, self.pdus = self.nodes * GPUS_PER_NODE, self.nodes * PSUS_PER_NODE, self.racks * 2
        self.nodes_per_rack = nodes_per_rack
        rack = np.arange(self.racks)
        self.rack_row: Indices = rack // racks_per_row
        self.node_rack: Indices = np.arange(self.nodes) // nodes_per_rack
        self.node_slot: Indices = np.arange(self.nodes) % nodes_per_rack
        self.node_row: Indices = self.rack_row[self.node_rack]
        self.gpu_node: Indices = np.arange(self.gpus) // GPUS_PER_NODE
        self.gpu_row: Indices = self.node_row[self.gpu_node]
        self.psu_node: Indices = np.arange(self.psus) // PSUS_PER_NODE
        self.psu_pdu: Indices = self.node_rack[self.psu_node] * 2 + np.tile(FEED_OF_PSU, self.nodes)
        leaves_per_row = -(-racks_per_row // RACKS_PER_LEAF)
        self.node_switch: Indices = self.node_row * leaves_per_row + (
            (self.node_rack % racks_per_row) // RACKS_PER_LEAF
        )
        self.switches = rows * leaves_per_row
        every = np.arange(rows)
        self.row_liquid: Flags = {"air": every < 0, "liquid": every >= 0, "mixed": every % 2 == 1}[cooling]
        self.node_liquid: Flags = self.row_liquid[self.node_row]
        self.gpu_liquid: Flags = self.node_liquid[self.gpu_node]
        self._name(racks_per_row, leaves_per_row, seed)

    def _name(self, racks_per_row: int, leaves_per_row: int, seed: int) -> None:
        wide = max(3, len(str(self.nodes)))
        self.row_names = [_letters(row) for row in range(self.rows)]
        self.rack_names = [f"{row}{rack + 1:02d}" for row in self.row_names for rack in range(racks_per_row)]
        self.node_names = [f"n{n + 1:0{wide}d}" for n in range(self.nodes)]
        self.gpu_names = [_uuid(seed, g) for g in range(self.gpus)]
        self.psu_names = [f"{self.node_names[p // PSUS_PER_NODE]}-psu{p % PSUS_PER_NODE + 1}" for p in range(self.psus)]
        self.pdu_names = [f"{self.rack_names[d // 2]}-pdu{d % 2 + 1}" for d in range(self.pdus)]
        self.switch_names = [
            f"leaf-{self.row_names[s // leaves_per_row]}{s % leaves_per_row + 1}" for s in range(self.switches)
        ]
        self.port_names: list[str] = []
        used = [0] * self.switches
        for switch in self.node_switch.tolist():
            used[switch] += 1
            self.port_names.append(f"{self.switch_names[switch]}-p{used[switch]:02d}")
        self.cooling_names = [
            f"{'cdu' if liquid else 'crac'}-{name}"
            for liquid, name in zip(self.row_liquid.tolist(), self.row_names, strict=True)
        ]

    def cooling_entity(self, row: int) -> str:
        """Return ``crac/...`` or ``cdu/...`` of a row."""
        return f"{'cdu' if self.row_liquid[row] else 'crac'}/{self.cooling_names[row]}"

    def node_entity(self, node: int) -> str:
        """Return ``node/...``."""
        return f"node/{self.node_names[node]}"

    def gpu_entities(self, node: int) -> list[str]:
        """Return the node's GPUs."""
        first = node * GPUS_PER_NODE
        return [f"gpu/{name}" for name in self.gpu_names[first : first + GPUS_PER_NODE]]

    def entities(self) -> Iterator[Entity]:
        """Yield every thing of the hall, containers first."""
        site = f"site/{SITE}"
        yield Entity("site", SITE, None, {})
        for row, name in enumerate(self.row_names):
            cooled = "liquid" if self.row_liquid[row] else "air"
            yield Entity("row", name, site, {"cooling": cooled})
            kind, _, unit = self.cooling_entity(row).partition("/")
            # Not inside the row it cools: then a warm row would be as good a suspect as its cooling unit.
            yield Entity(kind, unit, site, {"row": name})
        for switch, name in enumerate(self.switch_names):
            row_name = self.row_names[int(self.node_row[int(np.argmax(self.node_switch == switch))])]
            yield Entity("switch", name, f"row/{row_name}", {"row": row_name, "sku": "QM9700"})
        for rack, name in enumerate(self.rack_names):
            row_name = self.row_names[int(self.rack_row[rack])]
            yield Entity("rack", name, f"row/{row_name}", {"row": row_name})
            for feed in (0, 1):
                yield Entity("pdu", self.pdu_names[2 * rack + feed], f"rack/{name}", {"feed": "AB"[feed]})
        for node in range(self.nodes):
            yield from self._entities_of_node(node)

    def _entities_of_node(self, node: int) -> Iterator[Entity]:
        rack = int(self.node_rack[node])
        row = int(self.node_row[node])
        place = {
            "sku": "HGX H100 liquid" if self.row_liquid[row] else "HGX H100 air",
            "row": self.row_names[row],
            "rack": self.rack_names[rack],
            "slot": str(int(self.node_slot[node]) + 1),
        }
        name = self.node_names[node]
        yield Entity("node", name, f"rack/{self.rack_names[rack]}", place)
        for index in range(GPUS_PER_NODE):
            uuid = self.gpu_names[node * GPUS_PER_NODE + index]
            yield Entity("gpu", uuid, f"node/{name}", {"index": str(index), "sku": GPU_SKU})
        for index in range(PSUS_PER_NODE):
            yield Entity("psu", self.psu_names[node * PSUS_PER_NODE + index], f"node/{name}", {})
        switch = self.switch_names[int(self.node_switch[node])]
        yield Entity("port", self.port_names[node], f"switch/{switch}", {"node": name})

    def relations(self) -> Iterator[Relation]:
        """Yield who feeds, cools and links whom: PDU -> PSU -> node, unit -> row, port -> node."""
        for row, name in enumerate(self.row_names):
            yield Relation(RelationKind.COOLS, self.cooling_entity(row), f"row/{name}")
        for psu, name in enumerate(self.psu_names):
            pdu = self.pdu_names[int(self.psu_pdu[psu])]
            yield Relation(RelationKind.FEEDS, f"pdu/{pdu}", f"psu/{name}")
            yield Relation(RelationKind.FEEDS, f"psu/{name}", self.node_entity(psu // PSUS_PER_NODE))
        for node, name in enumerate(self.port_names):
            yield Relation(RelationKind.LINKS, f"port/{name}", self.node_entity(node))


def _letters(number: int) -> str:
    """Return A, B, ..., Z, AA, AB, ... as rows are lettered."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def _uuid(seed: int, gpu: int) -> str:
    digits = blake2b(f"{seed}/{gpu}".encode(), digest_size=16).hexdigest()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
