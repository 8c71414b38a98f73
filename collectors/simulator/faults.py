"""What can break, and what each breakage does to the physics or to the telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from coldaisle.event import Event
from coldaisle.series import Labels, labels
from coldaisle.severity import Severity
from collectors.simulator.effects import Effects
from collectors.simulator.hall import GPUS_PER_NODE, PSUS_PER_NODE, Hall

Read = Callable[[str, int], float]
"""Returns what the sensor of (metric, position) said last; NaN if it said nothing."""


@dataclass(slots=True)
class Moment:
    """A fault acting in one step: where, how old it is, and what it may touch."""

    hall: Hall
    effects: Effects
    read: Read
    rng: np.random.Generator
    target: int  # position of the thing it struck, in its unit's numbering
    before: float  # seconds since onset at the step's beginning; negative in the first step
    age: float  # and at its end
    now: int
    memory: dict[str, float]  # what the fault keeps from step to step
    grows_seconds: float = 0.0  # how long this one takes to be full; 0 = it strikes at once
    stretch: float = 1.0  # that, as a multiple of its kind's own pace
    events: list[Event] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the step."""
        return self.age - self.before

    @property
    def grown(self) -> float:
        """How far it has come, 0..1."""
        return self.reached(self.grows_seconds)

    def reached(self, seconds: float) -> float:
        """Return 0..1: how far a growth of ``seconds`` has come."""
        return min(max(self.age / seconds, 0.0), 1.0) if seconds > 0 else 1.0

    def rate(self, full: float, ratio: float) -> float:
        """
        Return events a second that grow exponentially to ``full``; at the kind's own pace from ``full / ratio``.

        What grows more slowly begins smaller, with the square of its slowness: a defect that takes hours is
        not a storm from its first minute.
        """
        return full * float((ratio * self.stretch**2) ** (self.grown - 1.0))

    def at_growth(self, share: float) -> bool:
        """Return whether the fault has grown to ``share`` in this step; true once."""
        return self.at(share * self.grows_seconds)

    def at(self, age: float) -> bool:
        """Return whether the fault reaches ``age`` seconds in this step; true once."""
        return self.before < age <= self.age or (age == 0.0 and self.before < 0.0 <= self.age)

    def say(self, kind: str, code: str, whose: Labels, text: str, **attributes: str) -> None:
        """Let an event happen now."""
        self.events.append(Event(kind, code, self.now, whose, text, attributes))

    def gpu_labels(self, gpu: int) -> Labels:
        """Return the labels of a GPU."""
        return labels(node=self.hall.node_names[gpu // GPUS_PER_NODE], gpu=self.hall.gpu_names[gpu])

    def xid(self, gpu: int, code: int, what: str) -> None:
        """Let the driver write an Xid line to the kernel's log."""
        pci = f"PCI:0000:{0x18 + 0x0B * (gpu % GPUS_PER_NODE):02x}:00"
        self.say("xid", str(code), self.gpu_labels(gpu), f"NVRM: Xid ({pci}): {code}, {what}", pci=pci)

    def port_labels(self, node: int) -> Labels:
        """Return the labels of a node's port."""
        hall = self.hall
        switch = hall.switch_names[int(hall.node_switch[node])]
        return labels(switch=switch, port=hall.port_names[node], node=hall.node_names[node])


class Kind(NamedTuple):
    """
    One kind of fault; see ``SHARES`` for how often it is drawn.

    One that builds up takes ``grows_seconds`` of its ``lasts_seconds`` to be full; the others strike at once.
    """

    name: str
    unit: str  # gpu, node, psu, pdu, cooling, port, switch
    severity: Severity
    lasts_seconds: float
    act: Callable[[Moment], None]
    needs: str = ""  # "air", "liquid", "training": only such places can have it
    after: Callable[[Moment], None] | None = None  # once, when it heals
    grows_seconds: float = 0.0


# --- cooling -----------------------------------------------------------------------------------------------------


def _fan_failure(m: Moment) -> None:
    """Half of the fan wall stops; its GPUs warm and throttle, and their job waits for them."""
    m.effects.fan_dead[m.target, :3] = True


def _blocked_cold_plate(m: Moment) -> None:
    """Debris grows in one cold plate: its resistance rises to three times, the node's flow falls a little."""
    m.effects.core_resistance[m.target] = 1.0 + 2.0 * m.grown
    m.effects.coolant_flow[m.target // GPUS_PER_NODE] = 1.0 - 0.06 * m.grown


def _cooling_unit_failure(m: Moment) -> None:
    """A compressor or valve fails within a minute; what is left carries a third, and the row warms."""
    m.effects.cooling_health[m.target] = 1.0 - 0.68 * m.reached(60.0)


def _pump_wear(m: Moment) -> None:
    """An impeller wears; at the same speed the flow falls to six tenths."""
    m.effects.pump_health[m.target] = 1.0 - 0.4 * m.grown


def _memory_overheating(m: Moment) -> None:
    """The pad between HBM and heat sink comes loose: memory runs hot while the core stays cool."""
    m.effects.memory_resistance[m.target] = 1.0 + 3.2 * m.grown


def _fan_wear(m: Moment) -> None:
    """The bearings of half the fan wall wear: at the same command they turn ever slower, down to half."""
    m.effects.fan_health[m.target, :3] = 1.0 - 0.5 * m.grown


def _filter_clogging(m: Moment) -> None:
    """Dust closes the filter before one node: the same fans move ever less air, down to six tenths."""
    m.effects.air_flow[m.target] = 1.0 - 0.4 * m.grown


def _coolant_loss(m: Moment) -> None:
    """A quick connector of one node leaks or closes: its flow falls to half."""
    m.effects.coolant_flow[m.target] = 1.0 - 0.5 * m.grown


# --- power -------------------------------------------------------------------------------------------------------


def _rack_feed_lost(m: Moment) -> None:
    """A breaker opens: every supply on that feed goes dark, the other feed carries the rack."""
    m.effects.pdu_dead[m.target] = True
    if m.at(0.0):
        m.say("power", "lost", labels(pdu=m.hall.pdu_names[m.target]), "input power lost")


def _rack_feed_back(m: Moment) -> None:
    m.say("power", "restored", labels(pdu=m.hall.pdu_names[m.target]), "input power restored")


def _psu_labels(m: Moment) -> Labels:
    return labels(node=m.hall.node_names[m.target // PSUS_PER_NODE], psu=m.hall.psu_names[m.target])


def _psu_lost(m: Moment) -> None:
    m.effects.psu_dead[m.target] = True
    if m.at(0.0):
        m.say("status", "critical", _psu_labels(m), "power supply failure detected")


def _psu_back(m: Moment) -> None:
    m.say("status", "ok", _psu_labels(m), "power supply delivers again")


def _power_cap_forgotten(m: Moment) -> None:
    """Somebody capped a node for a test and went home."""
    first = m.target * GPUS_PER_NODE
    m.effects.power_limit_watts[first : first + GPUS_PER_NODE] = 450.0


# --- GPUs --------------------------------------------------------------------------------------------------------


def _gpu_off_bus(m: Moment) -> None:
    """The GPU is gone until the node is restarted; what ran on its siblings is cleaned up (Xid 45)."""
    node = m.target // GPUS_PER_NODE
    m.effects.gpu_gone[m.target] = True
    m.effects.node_unfit[node] = True
    if m.at(0.0):
        m.xid(m.target, 79, "pid='<unknown>', name=<unknown>, GPU has fallen off the bus.")
        for gpu in range(node * GPUS_PER_NODE, (node + 1) * GPUS_PER_NODE):
            if gpu != m.target:
                m.xid(gpu, 45, "pid=48211, name=python3, Ch 00000008")


def _ecc_storm(m: Moment) -> None:
    """Corrected errors first; then rows fail, are remapped (63), remapping fails (64), errors escape (94, 95)."""
    m.effects.corrected_errors[m.target] = m.rng.poisson(m.seconds * m.rate(12.5, 25.0))
    if m.at_growth(1 / 3):
        m.xid(m.target, 63, "Row Remapper: New row (0x0000000000e1c5a0) marked for remapping, reset gpu to activate.")
        m.effects.remapped_rows[m.target] += 1
    if m.at_growth(2 / 3):
        m.xid(m.target, 94, "pid=48211, name=python3, Contained: SM (0x1). RST: No, D-RST: No")
        m.effects.uncorrected_errors[m.target] += 1
        m.effects.remapped_rows[m.target] += 1
    if m.at_growth(1.0):
        m.effects.uncorrected_errors[m.target] += 2
        m.xid(m.target, 64, "Row Remapper: Failed to record row remap")
        m.xid(m.target, 95, "pid=48211, name=python3, Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No")
    if m.age > m.grows_seconds:
        m.effects.node_unfit[m.target // GPUS_PER_NODE] = True


def _nvlink_errors(m: Moment) -> None:
    """A link replays more and more; the driver reports it, the job dies with the third report."""
    m.effects.nvlink_errors[m.target] = m.rng.poisson(m.seconds * m.rate(32.0, 16.0))
    for share in (0.5, 0.75, 1.0):
        if m.at_growth(share):
            m.xid(m.target, 74, "pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link 4(0x10000, 0x0)")
    if m.age > m.grows_seconds:
        m.effects.node_unfit[m.target // GPUS_PER_NODE] = True


def _pcie_width_low(m: Moment) -> None:
    """The link trains down to x4 after replays; the node's steps wait for copies."""
    m.effects.pcie_lanes[m.target] = 4.0
    m.effects.replays[m.target] = m.rng.poisson(m.seconds * 0.8)
    m.effects.node_slow[m.target // GPUS_PER_NODE] = 0.12


def _slow_node(m: Moment) -> None:
    """Three per cent slower than its peers, with nothing else to see; every other node waits for it."""
    m.effects.node_slow[m.target] = 0.03


# --- network -----------------------------------------------------------------------------------------------------


def _link_flapping(m: Moment) -> None:
    """Down for some seconds, up for some; drawn at each change."""
    if m.before < 0.0:
        m.memory.update(down=0.0, until=0.0)
    if m.age >= m.memory["until"]:
        down = 1.0 - m.memory["down"]
        low, high = (3.0, 12.0) if down else (8.0, 40.0)
        m.memory.update(down=down, until=m.age + float(m.rng.uniform(low, high)))
        m.say("link", "down" if down else "up", m.port_labels(m.target), f"link is {'down' if down else 'up'}")
        m.effects.link_downs[m.target] += down
    m.effects.port_down[m.target] = m.memory["down"] > 0
    m.effects.symbol_errors[m.target] = m.rng.poisson(m.seconds * 0.4)
    m.effects.node_slow[m.target] = 0.6 if m.memory["down"] else 0.0


def _link_up(m: Moment) -> None:
    m.say("link", "up", m.port_labels(m.target), "link is up")


def _link_settles(m: Moment) -> None:
    if m.memory.get("down"):
        _link_up(m)


def _optics_degrading(m: Moment) -> None:
    """The laser ages: symbol errors grow to forty a second."""
    m.effects.symbol_errors[m.target] = m.rng.poisson(m.seconds * m.rate(40.0, 400.0))


def _switch_dead(m: Moment) -> None:
    """A leaf loses power: all its links drop and nothing of its nodes gets through."""
    nodes = np.flatnonzero(m.hall.node_switch == m.target)
    for flags in (m.effects.port_down, m.effects.node_silent, m.effects.node_unfit):
        flags[nodes] = True
    if m.at(0.0):
        m.effects.link_downs[nodes] += 1
        for node in nodes.tolist():
            m.say("link", "down", m.port_labels(node), "link is down")


def _switch_back(m: Moment) -> None:
    for node in np.flatnonzero(m.hall.node_switch == m.target).tolist():
        m.say("link", "up", m.port_labels(node), "link is up")


# --- nodes and their telemetry -------------------------------------------------------------------------------------


def _host_down(m: Moment) -> None:
    """The board loses power: silent, its supplies at standby, its link down."""
    for flags in (m.effects.node_down, m.effects.node_silent, m.effects.node_unfit, m.effects.port_down):
        flags[m.target] = True
    if m.at(0.0):
        m.effects.link_downs[m.target] += 1
        m.say("link", "down", m.port_labels(m.target), "link is down")


def _agent_dead(m: Moment) -> None:
    """The agent hangs: the node is silent, yet draws power and moves packets as before."""
    m.effects.node_silent[m.target] = True


def _sensor_stuck(m: Moment) -> None:
    """The power sensor of a working GPU repeats what it said last."""
    key = ("gpu_power_watts", m.target)
    if "value" not in m.memory:
        m.memory["value"] = m.read(*key)
    m.effects.overrides[key] = m.memory["value"]


def _sensor_bad(m: Moment) -> None:
    """A loose contact: NaN, nonsense out of range and spikes within it, between honest readings."""
    key = ("gpu_temperature_celsius", m.target)
    draw = float(m.rng.random())
    for below, value in ((0.25, float("nan")), (0.33, 255.0), (0.45, float(m.rng.integers(95, 127)))):
        if draw < below:
            m.effects.overrides[key] = value
            return


PAGE, TICKET = Severity.PAGE, Severity.TICKET
_MINUTE = 60.0

# fmt: off
_KINDS = (
    Kind("fan_failure",          "node",    PAGE,   12 * _MINUTE, _fan_failure,          needs="air"),
    Kind("blocked_cold_plate",   "gpu",     TICKET, 30 * _MINUTE, _blocked_cold_plate,   "liquid", None, 15 * _MINUTE),
    Kind("cooling_unit_failure", "cooling", PAGE,   15 * _MINUTE, _cooling_unit_failure),
    Kind("pump_wear",            "cooling", TICKET, 30 * _MINUTE, _pump_wear,            "liquid", None, 20 * _MINUTE),
    Kind("memory_overheating",   "gpu",     TICKET, 15 * _MINUTE, _memory_overheating,   "training", None, 2 * _MINUTE),
    Kind("fan_wear",             "node",    TICKET, 25 * _MINUTE, _fan_wear,             "air", None, 15 * _MINUTE),
    Kind("filter_clogging",      "node",    TICKET, 25 * _MINUTE, _filter_clogging,      "air", None, 15 * _MINUTE),
    Kind("coolant_loss",         "node",    TICKET, 25 * _MINUTE, _coolant_loss,         "liquid", None, 15 * _MINUTE),
    Kind("rack_feed_lost",       "pdu",     PAGE,   10 * _MINUTE, _rack_feed_lost,       after=_rack_feed_back),
    Kind("psu_lost",             "psu",     TICKET, 15 * _MINUTE, _psu_lost,             after=_psu_back),
    Kind("power_cap_forgotten",  "node",    TICKET, 20 * _MINUTE, _power_cap_forgotten,  needs="training"),
    Kind("gpu_off_bus",          "gpu",     PAGE,   15 * _MINUTE, _gpu_off_bus),
    Kind("ecc_storm",            "gpu",     PAGE,   15 * _MINUTE, _ecc_storm,            "training", None, 3 * _MINUTE),
    Kind("nvlink_errors",        "gpu",     PAGE,   10 * _MINUTE, _nvlink_errors,        "training", None, 140.0),
    Kind("pcie_width_low",       "gpu",     TICKET, 20 * _MINUTE, _pcie_width_low,       needs="training"),
    Kind("slow_node",            "node",    TICKET, 25 * _MINUTE, _slow_node,            needs="training"),
    Kind("link_flapping",        "port",    PAGE,    8 * _MINUTE, _link_flapping, "training", _link_settles),
    Kind("optics_degrading",     "port",    TICKET, 15 * _MINUTE, _optics_degrading,     grows_seconds=10 * _MINUTE),
    Kind("switch_dead",          "switch",  PAGE,    8 * _MINUTE, _switch_dead,          after=_switch_back),
    Kind("host_down",            "node",    PAGE,   12 * _MINUTE, _host_down,            after=_link_up),
    Kind("agent_dead",           "node",    TICKET, 10 * _MINUTE, _agent_dead),
    Kind("sensor_stuck",         "gpu",     TICKET, 20 * _MINUTE, _sensor_stuck,         needs="training"),
    Kind("sensor_bad",           "gpu",     TICKET, 10 * _MINUTE, _sensor_bad),
)
# fmt: on

FAULTS: Final[dict[str, Kind]] = {kind.name: kind for kind in _KINDS}
"""Every kind by its name."""

LOCAL: Final = frozenset({
    "pump_wear", "rack_feed_lost", "psu_lost", "optics_degrading", "agent_dead", "sensor_stuck", "sensor_bad",
})  # fmt: skip
"""Kinds that no job feels; the consequences of every other reach all nodes of the job."""

PLAIN: Final = frozenset({
    "fan_failure", "rack_feed_lost", "psu_lost", "power_cap_forgotten", "gpu_off_bus", "ecc_storm", "nvlink_errors",
    "pcie_width_low", "link_flapping", "switch_dead", "host_down",
})  # fmt: skip
"""Kinds that an event or a flag gives away, so that no detector needs to have warmed up."""

SHARES: Final[dict[str, float]] = {
    # Counted by us in InfiniteHBD's fault statistics (348 days of 400 GPU servers, Apache-2.0): how many faults
    # of the nearest classes were seen.
    "ecc_storm": 61,  # GPU DBE > threshold 60, SBE > threshold 1
    "gpu_off_bus": 46,  # GPU lost 5, device not found 1, unknown device error 40
    "nvlink_errors": 14,  # GPU xid error 11, P2P bandwidth low 3
    "pcie_width_low": 26,  # GPU PCI link width low 25, NIC link width low 1
    "memory_overheating": 2,  # GPU temperature high 2
    "link_flapping": 40,  # parameter plane cable, link down 40
    "optics_degrading": 11,  # NIC link speed low 10, remote optical module 1
    "psu_lost": 26,  # power supply failure 25, redundancy lost 1
    "fan_failure": 33,  # fan speed critical 31, redundancy lost 2
    "agent_dead": 16,  # kubelet date absent 7, nvidia-smi timeout 9
    "host_down": 9,  # motherboard 4, CPU 3, kernel panic 1, server down 1
    # That trace holds servers only. What follows is our assumption.
    "blocked_cold_plate": 6,
    "fan_wear": 8,
    "filter_clogging": 5,
    "coolant_loss": 5,
    "cooling_unit_failure": 6,
    "pump_wear": 4,
    "rack_feed_lost": 6,
    "switch_dead": 5,
    "slow_node": 14,
    "power_cap_forgotten": 5,
    "sensor_stuck": 6,
    "sensor_bad": 6,
}
