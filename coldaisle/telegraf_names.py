"""What Telegraf's own plugins call the metrics of our catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_MIB = float(1 << 20)


class Renamed(NamedTuple):
    """Our metric, and its value as ``offset + scale * theirs``."""

    metric: str
    scale: float = 1.0
    offset: float = 0.0


class Plugin(NamedTuple):
    """One measurement: its fields that we know, its tags by our labels (None: left out), and which lines are meant."""

    fields: Mapping[str, Renamed]
    tags: Mapping[str, str | None]
    only: tuple[str, str] | None = None  # a tag that a line must carry with this value, else it keeps its own names


# Fields and tags: the plugins' READMEs, https://github.com/influxdata/telegraf/tree/master/plugins/inputs.
# A tag that changes with the GPU's state (pstate) would make a new series of each state; what names a GPU is its UUID.
PLUGINS: Final[Mapping[str, Plugin]] = {
    "nvidia_smi": Plugin(
        {
            "temperature_gpu": Renamed("gpu_temperature_celsius"),
            "power_draw": Renamed("gpu_power_watts"),
            "power_limit": Renamed("gpu_power_limit_watts"),
            "utilization_gpu": Renamed("gpu_utilization_ratio", 0.01),
            "utilization_memory": Renamed("gpu_memory_utilization_ratio", 0.01),
            "memory_used": Renamed("gpu_memory_used_bytes", _MIB),
            "memory_total": Renamed("gpu_memory_total_bytes", _MIB),
            "fan_speed": Renamed("gpu_fan_speed_ratio", 0.01),
            "clocks_current_sm": Renamed("gpu_clock_sm_hertz", 1e6),
            "clocks_current_memory": Renamed("gpu_clock_memory_hertz", 1e6),
            "pcie_link_width_current": Renamed("gpu_pcie_link_width_lanes"),
            "pcie_link_gen_current": Renamed("gpu_pcie_link_generation"),
            "remapped_rows_correctable": Renamed("gpu_remapped_rows_correctable"),
            "remapped_rows_uncorrectable": Renamed("gpu_remapped_rows_uncorrectable"),
        },
        {"uuid": "gpu", "pstate": None, "index": None, "name": None, "compute_mode": None},
    ),
    "cpu": Plugin(
        {
            "usage_idle": Renamed("node_cpu_utilization_ratio", -0.01, 1.0),
            "usage_iowait": Renamed("node_cpu_iowait_ratio", 0.01),
        },
        {"cpu": None},
        only=("cpu", "cpu-total"),
    ),
    "mem": Plugin(
        {
            "used": Renamed("node_memory_used_bytes"),
            "total": Renamed("node_memory_total_bytes"),
            "available": Renamed("node_memory_available_bytes"),
        },
        {},
    ),
    "system": Plugin({"load1": Renamed("node_load_average"), "uptime": Renamed("node_uptime_seconds")}, {}),
    "diskio": Plugin(
        {
            "read_bytes": Renamed("node_disk_read_bytes_total"),
            "write_bytes": Renamed("node_disk_written_bytes_total"),
            "io_time": Renamed("node_disk_busy_seconds_total", 1e-3),
        },
        {"name": "device"},
    ),
    "net": Plugin(
        {
            "bytes_recv": Renamed("node_network_receive_bytes_total"),
            "bytes_sent": Renamed("node_network_transmit_bytes_total"),
            "err_in": Renamed("node_network_receive_errors_total"),
            "err_out": Renamed("node_network_transmit_errors_total"),
        },
        {},
    ),
}
