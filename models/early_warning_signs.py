"""What speaks for a coming fault, and how strongly: the table behind early warnings."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from coldaisle.clock import SECOND
from coldaisle.prediction import Within


class Feature(StrEnum):
    """What is looked at in a series, minute by minute."""

    RECENT = "recent"  # how much it rose within about ten minutes
    HOUR = "hour"  # how much it rose within about an hour
    GROWTH = "growth"  # its rate now against that of the last half hour
    VALUE = "value"  # as it stands
    WEAR = "wear"  # by which share it has fallen (fans) or risen (thermal resistance) against its own past
    WEARING = "wearing"  # by which share a minute that goes on
    ROOM = "room"  # which share of its room up to its limit is gone
    SHARED = "shared"  # which share of its node wears likewise
    REACH = "reach"  # at this pace, how many times it would reach its limit within half an hour


class Sign(NamedTuple):
    """One piece of evidence: ``weight`` is added to the log-odds where the feature is at least ``at_least``."""

    metric: str
    feature: Feature
    at_least: float
    weight: float
    text: str  # {value}, {since}
    source: str


class Hazard(NamedTuple):
    """
    One way to fail.

    ``base`` is the log-odds that it befalls a thing without any sign within ``within.high``. ``rises``: counters
    and flags whose rise is the fault itself; ``drops``: (metric, share of its peak below which it has failed);
    ``passes``: (metric, rise within ten minutes from which it is of no use); ``events``: (kind, codes).
    """

    rule: str
    what: str
    base: float
    within: Within
    signs: tuple[Sign, ...]
    rises: tuple[str, ...] = ()
    drops: tuple[tuple[str, float], ...] = ()
    passes: tuple[tuple[str, float], ...] = ()
    events: tuple[tuple[str, tuple[str, ...]], ...] = ()
    action: str = ""
    runbook: str = ""


CORRECTED: Final = "gpu_ecc_corrected_errors_total"
UNCORRECTED: Final = "gpu_ecc_uncorrected_errors_total"
SYMBOL: Final = "port_symbol_errors_total"
RECEIVE: Final = "port_receive_errors_total"
NVLINK: Final = "gpu_nvlink_errors_total"
REPLAYS: Final = "gpu_pcie_replays_total"
FANS: Final = ("node_fan_speed_rpm", "node_hwmon_fan_speed_rpm")
TEMPERATURE: Final = "gpu_temperature_celsius"
MEMORY_TEMPERATURE: Final = "gpu_memory_temperature_celsius"
TEMPERATURES: Final = (TEMPERATURE, MEMORY_TEMPERATURE)
SLOWDOWN: Final = "gpu_temperature_slowdown_celsius"
MEMORY_LIMIT_CELSIUS: Final = 95.0
"""``nvidia-smi -q`` of A100 and H100: memory maximum operating temperature."""
CORE_LIMIT_CELSIUS: Final = 87.0
"""Where the device tells no slowdown threshold."""
POWER: Final = "gpu_power_watts"
CLOCK: Final = "gpu_clock_sm_hertz"
INLETS: Final = ("node_coolant_inlet_temperature_celsius", "node_inlet_temperature_celsius")
THROTTLED: Final = "gpu_throttle_thermal_seconds_total"

_RATE = "how often per two hours: faults counted in InfiniteHBD's trace, 348 days of 3,200 GPUs"
_OURS = "our estimate; the record of settled predictions corrects it"
_HOURS = Within(300.0, 1800.0, 7200.0)

HAZARDS: Final = (
    # 60 double-bit errors in 3,200 x 348 x 12 spans of two hours: log-odds -12.3.
    Hazard(
        "gpu_memory_fails",
        "uncorrectable memory error",
        -12.3,
        _HOURS,
        (
            Sign(
                CORRECTED,
                Feature.RECENT,
                5.0,
                5.4,
                "{value:.0f} corrected memory errors in 10 min, the first at {since}",
                "corrected errors make an uncorrectable one many times as likely: Schroeder et al. 2009, figure 8",
            ),
            Sign(
                CORRECTED,
                Feature.HOUR,
                50.0,
                4.0,
                "{value:.0f} corrected memory errors within an hour",
                "NVIDIA Xid 92: high single-bit error rate",
            ),
            Sign(
                CORRECTED,
                Feature.GROWTH,
                1.3,
                3.0,
                "corrected memory errors come {value:.1f} times as fast as half an hour ago",
                _OURS,
            ),
            Sign(
                "gpu_remapped_rows_uncorrectable",
                Feature.HOUR,
                0.3,
                4.0,
                "{value:.0f} rows remapped within an hour",
                "NVIDIA Xid 63: a row is remapped after errors it could not correct, or several that it could",
            ),
            Sign(
                "gpu_remapped_rows_correctable",
                Feature.HOUR,
                0.3,
                3.0,
                "{value:.0f} rows remapped within an hour",
                "NVIDIA Xid 63",
            ),
            Sign(
                "gpu_remapped_rows_pending",
                Feature.VALUE,
                1.0,
                1.5,
                "a row remap waits for a reset",
                "NVIDIA: bad rows stay in use until then",
            ),
        ),
        rises=(UNCORRECTED, "gpu_remapped_rows_failed"),
        events=(("xid", ("48", "64", "94", "95", "140", "171", "172")),),
        action="Drain the node and reset the GPU so that pending rows are remapped; run the field diagnostics.",
        runbook="docs/runbooks/gpu-memory.md",
    ),
    # 14 NVLink and P2P faults in the same trace: -13.8.
    Hazard(
        "gpu_link_fails",
        "NVLink fails",
        -13.8,
        _HOURS,
        (
            Sign(
                NVLINK,
                Feature.RECENT,
                10.0,
                7.0,
                "{value:.0f} NVLink errors in 10 min, the first at {since}",
                "DCGM counts replays, recoveries and CRC errors; a sound link has none for days",
            ),
            Sign(NVLINK, Feature.HOUR, 30.0, 4.0, "{value:.0f} NVLink errors within an hour", _OURS),
            Sign(
                NVLINK,
                Feature.GROWTH,
                1.3,
                5.0,
                "NVLink errors come {value:.1f} times as fast as half an hour ago",
                _OURS,
            ),
        ),
        events=(("xid", ("74", "136", "149", "155")),),
        action="Plan a drain; reseat or replace the link before the job dies with it.",
        runbook="docs/runbooks/gpu-links.md",
    ),
    # 26 links that lost lanes: -13.2.
    Hazard(
        "gpu_pcie_fails",
        "PCIe link loses lanes or the GPU falls off the bus",
        -13.2,
        _HOURS,
        (
            Sign(
                REPLAYS,
                Feature.RECENT,
                20.0,
                6.0,
                "{value:.0f} PCIe replays in 10 min, the first at {since}",
                "DCGM health warns from 8 replays a minute (dcgm_gpu_hardware_limits.h)",
            ),
            Sign(REPLAYS, Feature.HOUR, 200.0, 4.5, "{value:.0f} PCIe replays within an hour", _OURS),
            Sign(
                REPLAYS,
                Feature.GROWTH,
                1.3,
                4.5,
                "PCIe replays come {value:.1f} times as fast as half an hour ago",
                _OURS,
            ),
        ),
        drops=(("gpu_pcie_link_width_lanes", 0.99),),
        events=(("xid", ("79", "167")),),
        action="Plan a drain; power-cycle the node and reseat the board.",
        runbook="docs/runbooks/gpu-links.md",
    ),
    # 51 cables, optics and slow links: -12.5.
    Hazard(
        "port_fails",
        "link goes down or becomes useless",
        -12.5,
        _HOURS,
        (
            Sign(
                SYMBOL,
                Feature.RECENT,
                20.0,
                5.0,
                "{value:.0f} symbol errors in 10 min, the first at {since}",
                "IBTA: a bit error rate of 1e-12 is 120 symbol errors an hour",
            ),
            Sign(
                SYMBOL,
                Feature.HOUR,
                120.0,
                4.0,
                "{value:.0f} symbol errors within an hour; the standard allows 120",
                "IBTA; NVSentinel calls more than 120 an hour fatal",
            ),
            Sign(
                SYMBOL,
                Feature.GROWTH,
                1.3,
                5.0,
                "symbol errors come {value:.1f} times as fast as half an hour ago",
                _OURS,
            ),
            Sign(
                RECEIVE, Feature.RECENT, 5.0, 2.0, "{value:.0f} broken packets in 10 min", "NVSentinel: port_rcv_errors"
            ),
        ),
        rises=("port_link_downs_total",),
        drops=(("port_up", 0.5), ("port_rate_bits_per_second", 0.99)),
        passes=((SYMBOL, 6000.0),),  # NVSentinel warns from 10 a second
        events=(("link", ("down",)),),
        action="Clean or swap the transceiver or the cable while the link still works.",
        runbook="docs/runbooks/links.md",
    ),
    # 33 faults of fans: -12.9.
    Hazard(
        "fan_fails",
        "fan falls below six tenths of its siblings' speed",
        -12.9,
        Within(300.0, 2400.0, 10800.0),
        (
            *(
                Sign(
                    fan,
                    Feature.WEAR,
                    0.08,
                    8.0,
                    "a fan turns {percent:.0f} % slower than its siblings by its own past, since {since}",
                    "fans of one wall are driven alike: a worn bearing shows against its siblings",
                )
                for fan in FANS
            ),
            *(Sign(fan, Feature.WEAR, 0.2, 4.0, "a fan has lost {percent:.0f} % of its speed", _OURS) for fan in FANS),
            *(
                Sign(fan, Feature.WEARING, 0.002, 4.0, "it loses {percent:.1f} % of its speed a minute", _OURS)
                for fan in FANS
            ),
        ),
        drops=tuple((fan, 0.6) for fan in FANS),
        action="Order a fan and swap it before its siblings cannot make up for it.",
        runbook="docs/runbooks/cooling.md",
    ),
    # 2 GPUs too hot in the trace, our assumption for cold plates and pads: 20; -13.4.
    Hazard(
        "gpu_cooling_fails",
        "GPU slows down for heat",
        -13.4,
        Within(300.0, 1200.0, 3600.0),
        (
            *(
                sign
                for metric in TEMPERATURES
                for sign in (
                    Sign(
                        metric,
                        Feature.WEAR,
                        0.15,
                        3.0,
                        "it warms {percent:.0f} % more for each watt than it used to, since {since}",
                        "thermal resistance to the coolant is a property of plate, paste and flow, not of load",
                    ),
                    Sign(metric, Feature.ROOM, 0.4, 4.0, "{percent:.0f} % of its room to the limit is gone", _OURS),
                    Sign(
                        metric,
                        Feature.SHARED,
                        0.5,
                        -4.0,
                        "its siblings warm likewise ({percent:.0f} %)",
                        "what a node shares, its air or coolant, is answered by fans and pumps; one plate by nothing",
                    ),
                    Sign(metric, Feature.WEARING, 0.004, 3.0, "that grows by {percent:.1f} % a minute", _OURS),
                    Sign(
                        metric, Feature.REACH, 1.0, 5.0, "at this pace it reaches its limit in {minutes:.0f} min", _OURS
                    ),
                )
            ),
            Sign(
                CLOCK,
                Feature.WEAR,
                0.03,
                2.0,
                "its clock gives {percent:.0f} % less for the same power",
                "a hot chip leaks: more power at the same clock",
            ),
        ),
        rises=(THROTTLED,),
        action="Check cold plate, paste, filter and flow of the node before it throttles.",
        runbook="docs/runbooks/gpu-heat.md",
    ),
)


def clock_text(timestamp: int) -> str:
    """Return ``02:14:00 UTC`` of Unix nanoseconds, which pages tell in the reader's zone."""
    return datetime.fromtimestamp(timestamp // SECOND, UTC).strftime("%H:%M:%S UTC")
