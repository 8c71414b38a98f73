"""Gives exporters' metrics the catalogue's names and units where the meaning is the same."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from coldaisle.series import Labels, Series
from collectors.prometheus.text import Pairs
from collectors.scrape import OWN_METRICS


class Rule(NamedTuple):
    """The catalogue's name, and what the exporter's value is multiplied by."""

    metric: str
    factor: float = 1.0
    wide: bool = False  # a 64-bit counter: a large value is no 32-bit blank


class Role(Enum):
    """What a line is for, where it is not simply a sample."""

    SAMPLE = "sample"
    XID = "xid"  # a change is an event
    SKIP = "skip"


class Meaning(NamedTuple):
    """What a line's head means; worked out once and kept for the next scrapes."""

    series: Series
    factor: float
    role: Role
    dcgm: bool  # vendor sentinels may stand in place of the value
    wide: bool = False
    dropped: str = ""  # why, where the role is SKIP and that is news


_MIB = 1024.0 * 1024.0
XID_METRICS = frozenset({"DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR"})

# Names and units: dcgm-exporter's default counters and DCGM's dcgm_fields.h, old names and those of DCGM 4.6.
DCGM: Final[Mapping[str, Rule]] = {
    "DCGM_FI_DEV_GPU_TEMP": Rule("gpu_temperature_celsius"),
    "DCGM_FI_DEV_GPU_TEMP_CELSIUS": Rule("gpu_temperature_celsius"),
    "DCGM_FI_DEV_MEMORY_TEMP": Rule("gpu_memory_temperature_celsius"),
    "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS": Rule("gpu_memory_temperature_celsius"),
    "DCGM_FI_DEV_GPU_TEMP_LIMIT": Rule("gpu_temperature_margin_celsius"),
    "DCGM_FI_DEV_GPU_TEMP_MARGIN_CELSIUS": Rule("gpu_temperature_margin_celsius"),
    "DCGM_FI_DEV_SLOWDOWN_TEMP": Rule("gpu_temperature_slowdown_celsius"),
    "DCGM_FI_DEV_SHUTDOWN_TEMP": Rule("gpu_temperature_shutdown_celsius"),
    "DCGM_FI_DEV_POWER_USAGE": Rule("gpu_power_watts"),
    "DCGM_FI_DEV_BOARD_POWER_WATTS": Rule("gpu_power_watts"),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": Rule("gpu_power_limit_watts"),
    "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS": Rule("gpu_power_limit_watts"),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF": Rule("gpu_power_limit_default_watts"),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Rule("gpu_energy_joules_total", 1e-3, True),  # mJ
    "DCGM_FI_DEV_SM_CLOCK": Rule("gpu_clock_sm_hertz", 1e6),  # MHz
    "DCGM_FI_DEV_MEM_CLOCK": Rule("gpu_clock_memory_hertz", 1e6),  # MHz
    "DCGM_FI_DEV_GPU_UTIL": Rule("gpu_utilization_ratio", 1e-2),  # percent
    "DCGM_FI_DEV_GPU_UTIL_RATIO": Rule("gpu_utilization_ratio", 1e-2),  # percent, despite its name
    "DCGM_FI_DEV_MEM_COPY_UTIL": Rule("gpu_memory_utilization_ratio", 1e-2),  # percent
    "DCGM_FI_DEV_FB_USED": Rule("gpu_memory_used_bytes", _MIB),  # MiB
    "DCGM_FI_DEV_FB_TOTAL": Rule("gpu_memory_total_bytes", _MIB),  # MiB
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": Rule("gpu_throttle_reasons"),
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": Rule("gpu_throttle_reasons"),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": Rule("gpu_ecc_corrected_errors_total", 1.0, True),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": Rule("gpu_ecc_uncorrected_errors_total", 1.0, True),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": Rule("gpu_remapped_rows_correctable"),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": Rule("gpu_remapped_rows_uncorrectable"),
    "DCGM_FI_DEV_ROW_REMAP_PENDING": Rule("gpu_remapped_rows_pending"),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": Rule("gpu_remapped_rows_failed"),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": Rule("gpu_pcie_replays_total", 1.0, True),
    "DCGM_FI_DEV_PCIE_REPLAY_TOTAL": Rule("gpu_pcie_replays_total", 1.0, True),
    "DCGM_FI_DEV_PCIE_LINK_WIDTH": Rule("gpu_pcie_link_width_lanes"),
    "DCGM_FI_DEV_PCIE_LINK_GEN": Rule("gpu_pcie_link_generation"),
    "DCGM_FI_PROF_PCIE_TX_BYTES": Rule("gpu_pcie_transmit_bytes_per_second", 1.0, True),  # a rate, despite its name
    "DCGM_FI_PROF_PCIE_RX_BYTES": Rule("gpu_pcie_receive_bytes_per_second", 1.0, True),
    "DCGM_FI_DEV_FAN_SPEED": Rule("gpu_fan_speed_ratio", 1e-2),  # percent
}
"""DCGM's metrics that mean what one of ours means."""

# These add up to ours, as NVML's fields 161, 162 and 163 do.
DCGM_NVLINK_ERRORS: Final[frozenset[str]] = frozenset({
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
})  # fmt: skip

NODE_EXPORTER: Final[Mapping[str, Rule]] = {
    "node_load1": Rule("node_load_average"),
    "node_memory_MemTotal_bytes": Rule("node_memory_total_bytes"),
    "node_memory_MemAvailable_bytes": Rule("node_memory_available_bytes"),
    "node_disk_read_bytes_total": Rule("node_disk_read_bytes_total"),
    "node_disk_written_bytes_total": Rule("node_disk_written_bytes_total"),
    "node_disk_io_time_seconds_total": Rule("node_disk_busy_seconds_total"),
    "node_network_receive_bytes_total": Rule("node_network_receive_bytes_total"),
    "node_network_transmit_bytes_total": Rule("node_network_transmit_bytes_total"),
    "node_network_receive_errs_total": Rule("node_network_receive_errors_total"),
    "node_network_transmit_errs_total": Rule("node_network_transmit_errors_total"),
    "node_hwmon_temp_celsius": Rule("node_hwmon_temperature_celsius"),
    "node_hwmon_temp_crit_celsius": Rule("node_hwmon_critical_celsius"),
    "node_hwmon_fan_rpm": Rule("node_hwmon_fan_speed_rpm"),
}
"""node_exporter's metrics that mean what one of ours means."""

# What dcgm-exporter says of a GPU beside its UUID: constant or the index, which changes with a reboot.
_DCGM_UNWANTED = frozenset({
    "gpu", "device", "pci_bus_id", "modelName", "DCGM_FI_DRIVER_VERSION", "err_code", "err_msg",
    "container", "namespace", "pod", "pod_uid",
})  # fmt: skip
_FP64_BLANK, _INT32_BLANK, _INT64_BLANK = 140737488355328.0, 0x7FFFFFF0, float(0x7FFFFFFFFFFFFFF0)
_BLANKS = 16  # each blank is followed by its variants: not found, not supported, not permitted


def is_blank(value: float, wide: bool) -> bool:
    """
    Return whether ``value`` is one of DCGM's words for "no value" (dcgm_structs.h).

    ``wide`` counters pass the 32-bit and the floating blank on their way up (2.1 MJ in mJ is a minute's
    work), so only the 64-bit blank counts for them.
    """
    if value >= _INT64_BLANK:
        return True
    return not wide and (_INT32_BLANK <= value < _INT32_BLANK + _BLANKS or value >= _FP64_BLANK)


class Translator:
    """Works out what the lines of one target mean."""

    def __init__(
        self, node: str, extra: Mapping[str, str], honor_labels: bool, keep_buckets: bool, own_node: bool
    ) -> None:
        """``own_node``: the operator named the node, so the exporter's ``Hostname`` does not."""
        self._node, self._extra = node, dict(extra)
        self._honor_labels, self._keep_buckets, self._own_node = honor_labels, keep_buckets, own_node

    def meaning(self, name: str, pairs: Pairs, types: Mapping[str, str]) -> Meaning:
        """Return what a line with this name and these labels means."""
        if name in OWN_METRICS:
            # Only the runner may say whether a scrape worked.
            return _skip(name, "reserved name")
        if name.startswith("DCGM_"):
            return self._dcgm(name, pairs, types)
        if self._is_bucket(name, pairs, types):
            return _skip(name, "")
        rule = NODE_EXPORTER.get(name)
        labels = dict(pairs)
        if rule is None:
            return Meaning(Series(own_name(name, types), self._labels(labels)), 1.0, Role.SAMPLE, False)
        if rule.metric.startswith("node_network_") and "device" in labels:
            labels["interface"] = labels.pop("device")
        return Meaning(Series(rule.metric, self._labels(labels)), rule.factor, Role.SAMPLE, False)

    def _dcgm(self, name: str, pairs: Pairs, types: Mapping[str, str]) -> Meaning:
        found = dict(pairs)
        labels = {key: value for key, value in found.items() if key not in _DCGM_UNWANTED}
        gpu, host, instance = (labels.pop(key, "") for key in ("UUID", "Hostname", "GPU_I_ID"))
        labels.pop("GPU_I_PROFILE", None)
        if gpu or "gpu" in found:
            # Without a UUID the index is the only name there is.
            labels["gpu"] = gpu or found["gpu"]
        if instance:
            labels["mig"] = instance
        series_labels = self._labels(labels, "" if self._own_node else host)
        if name in XID_METRICS:
            return Meaning(Series(name, series_labels), 1.0, Role.XID, True)
        rule = DCGM.get(name)
        if rule is None:
            return Meaning(
                Series(own_name(name, types), series_labels), 1.0, Role.SAMPLE, True, types.get(name) == "counter"
            )
        return Meaning(Series(rule.metric, series_labels), rule.factor, Role.SAMPLE, True, rule.wide)

    def _labels(self, labels: dict[str, str], node: str = "") -> Labels:
        """Return canonical labels; a target may not speak for another node unless it is trusted to."""
        theirs = labels.pop("node", "")
        if theirs and self._honor_labels:
            node = theirs
        elif theirs:
            labels["exported_node"] = theirs
        # What the operator adds wins; an empty label is no label (Prometheus' data model).
        merged = {**labels, **self._extra, "node": node or self._node}
        return tuple(sorted((key, value) for key, value in merged.items() if value))

    def _is_bucket(self, name: str, pairs: Pairs, types: Mapping[str, str]) -> bool:
        if name.endswith("_created") and name.removesuffix("_created") in types:
            return True  # a time, told beside OpenMetrics counters; no measurement
        return not self._keep_buckets and name.endswith("_bucket") and any(key == "le" for key, _ in pairs)


def own_name(name: str, types: Mapping[str, str]) -> str:
    """
    Return ``name``, with ``_total`` where the page declares a counter that does not say so.

    In this house only the name tells a counter from a gauge, and a counter taken for a gauge rises for ever.
    """
    family, _, part = name.rpartition("_")
    declared = types.get(name) or ("counter" if part in ("sum", "count") and types.get(family) in _SUMS else "")
    return f"{name}_total" if declared == "counter" and not name.endswith("_total") else name


_SUMS = frozenset({"histogram", "summary"})


def _skip(name: str, dropped: str) -> Meaning:
    return Meaning(Series(name, ()), 1.0, Role.SKIP, False, False, dropped)
