"""Every metric we know: name, kind, unit, entity, direction of harm, valid range, vendor's name, meaning."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """A gauge goes up and down; a counter only rises and starts again when its owner restarts."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Harm(IntEnum):
    """In which direction a metric hurts."""

    LOW = -1
    BOTH = 0
    HIGH = 1


class Drive(StrEnum):
    """
    What moves a metric in normal life, and so what it may be compared with.

    LOAD: the work placed on it; only siblings under the same work tell what is normal.
    STEADY: nothing much; its own past tells.
    EVENT: errors; normally silent, any rise is news.
    STATE: a flag or a setting; rules read it, detectors do not.
    """

    LOAD = "load"
    STEADY = "steady"
    EVENT = "event"
    STATE = "state"


class Metric(NamedTuple):
    """One row of the catalogue. ``low`` and ``high`` bound what a working sensor can say."""

    name: str
    kind: Kind
    unit: str
    entity: str
    harm: Harm
    drive: Drive
    low: float
    high: float
    vendor: str
    meaning: str


_G, _C = Kind.GAUGE, Kind.COUNTER
_HI, _LO, _BO = Harm.HIGH, Harm.LOW, Harm.BOTH
_LOAD, _CALM, _ERR, _FLAG = Drive.LOAD, Drive.STEADY, Drive.EVENT, Drive.STATE
_INF = float("inf")

# fmt: off
_METRICS = (
    # --- GPU (NVML / DCGM) -------------------------------------------------------------------------------------
    Metric("gpu_power_watts",                        _G, "watts",   "gpu", _BO, _LOAD, 0, 3000, "NVML GetPowerUsage (mW)", "Board power draw, a one-second average on Ampere and newer."),
    Metric("gpu_power_limit_watts",                  _G, "watts",   "gpu", _LO, _FLAG, 0, 3000, "NVML GetEnforcedPowerLimit (mW)", "Power limit in force."),
    Metric("gpu_power_limit_default_watts",          _G, "watts",   "gpu", _BO, _FLAG, 0, 3000, "NVML GetPowerManagementDefaultLimit (mW)", "Power limit the board ships with."),
    Metric("gpu_energy_joules_total",                _C, "joules",  "gpu", _BO, _LOAD, 0, _INF, "NVML GetTotalEnergyConsumption (mJ)", "Energy since the driver loaded."),
    Metric("gpu_temperature_celsius",                _G, "celsius", "gpu", _HI, _LOAD, -40, 130, "NVML GetTemperature", "Core temperature."),
    Metric("gpu_memory_temperature_celsius",         _G, "celsius", "gpu", _HI, _LOAD, -40, 130, "NVML field 82", "HBM temperature; can throttle while the core is cool."),
    Metric("gpu_temperature_slowdown_celsius",       _G, "celsius", "gpu", _BO, _FLAG, 0, 130, "NVML GetTemperatureThreshold 1", "The device's own slowdown threshold."),
    Metric("gpu_temperature_shutdown_celsius",       _G, "celsius", "gpu", _BO, _FLAG, 0, 130, "NVML GetTemperatureThreshold 0", "The device's own shutdown threshold."),
    Metric("gpu_temperature_margin_celsius",         _G, "celsius", "gpu", _LO, _LOAD, -60, 130, "NVML GetMarginTemperature", "Head-room to slowdown."),
    Metric("gpu_clock_sm_hertz",                     _G, "hertz",   "gpu", _LO, _LOAD, 0, 1e10, "NVML GetClockInfo SM (MHz)", "Streaming-multiprocessor clock."),
    Metric("gpu_clock_memory_hertz",                 _G, "hertz",   "gpu", _LO, _LOAD, 0, 1e11, "NVML GetClockInfo MEM (MHz)", "Memory clock."),
    Metric("gpu_utilization_ratio",                  _G, "ratio",   "gpu", _LO, _LOAD, 0, 1, "NVML GetUtilizationRates.gpu (%)", "Share of time in which a kernel ran."),
    Metric("gpu_memory_utilization_ratio",           _G, "ratio",   "gpu", _BO, _LOAD, 0, 1, "NVML GetUtilizationRates.memory (%)", "Share of time in which memory was read or written."),
    Metric("gpu_memory_used_bytes",                  _G, "bytes",   "gpu", _BO, _LOAD, 0, 1e13, "NVML GetMemoryInfo.used", "Memory in use."),
    Metric("gpu_memory_total_bytes",                 _G, "bytes",   "gpu", _LO, _FLAG, 0, 1e13, "NVML GetMemoryInfo.total", "Memory of the board."),
    Metric("gpu_throttle_reasons",                   _G, "bitmask", "gpu", _BO, _FLAG, 0, _INF, "NVML GetCurrentClocksEventReasons", "Why clocks are held down, as NVML's bits."),
    Metric("gpu_throttle_thermal_seconds_total",     _C, "seconds", "gpu", _HI, _ERR, 0, _INF, "NVML fields 269+270 (ns)", "Time in which heat held the clocks down."),
    Metric("gpu_throttle_power_brake_seconds_total", _C, "seconds", "gpu", _HI, _ERR, 0, _INF, "NVML field 271 (ns)", "Time in which the external power brake held the clocks down."),
    Metric("gpu_throttle_power_cap_seconds_total",   _C, "seconds", "gpu", _BO, _LOAD, 0, _INF, "NVML field 74 (ns)", "Time at the power limit; normal under full load."),
    Metric("gpu_ecc_corrected_errors_total",         _C, "errors",  "gpu", _HI, _ERR, 0, _INF, "NVML GetTotalEccErrors corrected, volatile", "Single-bit errors since the driver loaded."),
    Metric("gpu_ecc_uncorrected_errors_total",       _C, "errors",  "gpu", _HI, _ERR, 0, _INF, "NVML GetTotalEccErrors uncorrected, volatile", "Double-bit errors since the driver loaded."),
    Metric("gpu_remapped_rows_correctable",          _G, "rows",    "gpu", _HI, _ERR, 0, 1e4, "NVML GetRemappedRows", "Rows remapped after corrected errors."),
    Metric("gpu_remapped_rows_uncorrectable",        _G, "rows",    "gpu", _HI, _ERR, 0, 1e4, "NVML GetRemappedRows", "Rows remapped after uncorrected errors; 512 at most."),
    Metric("gpu_remapped_rows_pending",              _G, "bool",    "gpu", _HI, _FLAG, 0, 1, "NVML GetRemappedRows", "A remap waits for the next GPU reset."),
    Metric("gpu_remapped_rows_failed",               _G, "bool",    "gpu", _HI, _FLAG, 0, 1, "NVML GetRemappedRows", "A remap failed: replace the board."),
    Metric("gpu_pcie_replays_total",                 _C, "replays", "gpu", _HI, _ERR, 0, _INF, "NVML GetPcieReplayCounter", "PCIe packets sent again."),
    Metric("gpu_pcie_link_width_lanes",              _G, "lanes",   "gpu", _LO, _FLAG, 0, 32, "NVML GetCurrPcieLinkWidth", "PCIe lanes in use."),
    Metric("gpu_pcie_link_generation",               _G, "generation", "gpu", _LO, _FLAG, 0, 9, "NVML GetCurrPcieLinkGeneration", "PCIe generation in use; drops when idle."),
    Metric("gpu_pcie_transmit_bytes_per_second",     _G, "bytes_per_second", "gpu", _BO, _LOAD, 0, 1e12, "NVML GetPcieThroughput TX (KB/s)", "PCIe sent, over 20 ms."),
    Metric("gpu_pcie_receive_bytes_per_second",      _G, "bytes_per_second", "gpu", _BO, _LOAD, 0, 1e12, "NVML GetPcieThroughput RX (KB/s)", "PCIe received, over 20 ms."),
    Metric("gpu_nvlink_errors_total",                _C, "errors",  "gpu", _HI, _ERR, 0, _INF, "NVML fields 161+162+163", "NVLink replays, recoveries and CRC errors."),
    Metric("gpu_fan_speed_ratio",                    _G, "ratio",   "gpu", _BO, _LOAD, 0, 1.5, "NVML GetFanSpeed (%)", "Fan speed of boards that have fans."),
    Metric("gpu_count",                              _G, "count",   "node", _LO, _FLAG, 0, 64, "NVML DeviceGetCount", "GPUs that the driver sees."),
    # --- node --------------------------------------------------------------------------------------------------
    Metric("node_power_watts",                       _G, "watts",   "node", _BO, _LOAD, 0, 1e5, "DCMI / PSU input", "Power the node draws from its supplies."),
    Metric("node_inlet_temperature_celsius",         _G, "celsius", "node", _HI, _CALM, -20, 90, "IPMI Inlet Temp", "Air temperature at the node's inlet."),
    Metric("node_coolant_inlet_temperature_celsius",  _G, "celsius", "node", _HI, _CALM, -20, 90, "BMC", "Coolant temperature at the node's inlet; warm by design where cooling is liquid."),
    Metric("node_coolant_flow_litres_per_minute",    _G, "litres_per_minute", "node", _LO, _CALM, 0, 500, "BMC", "Coolant flow through the node."),
    Metric("node_fan_speed_rpm",                     _G, "rpm",     "node", _LO, _LOAD, 0, 50000, "IPMI Fan", "Chassis fan speed."),
    Metric("node_cpu_utilization_ratio",             _G, "ratio",   "node", _BO, _LOAD, 0, 1, "/proc/stat", "Share of CPU time not idle."),
    Metric("node_cpu_iowait_ratio",                  _G, "ratio",   "node", _HI, _LOAD, 0, 1, "/proc/stat", "Share of CPU time that waits for a disk."),
    Metric("node_load_average",                      _G, "average", "node", _HI, _LOAD, 0, 1e5, "/proc/loadavg", "Processes that run or wait, one-minute average."),
    Metric("node_memory_used_bytes",                 _G, "bytes",   "node", _HI, _LOAD, 0, 1e15, "/proc/meminfo", "Memory in use, caches not counted."),
    Metric("node_memory_total_bytes",                _G, "bytes",   "node", _LO, _FLAG, 0, 1e15, "/proc/meminfo", "Memory of the node."),
    Metric("node_memory_available_bytes",            _G, "bytes",   "node", _LO, _LOAD, 0, 1e15, "/proc/meminfo", "Memory that can still be had."),
    Metric("node_filesystem_used_ratio",             _G, "ratio",   "node", _HI, _CALM, 0, 1, "statvfs", "Share of a file system in use."),
    Metric("node_disk_read_bytes_total",             _C, "bytes",   "node", _BO, _LOAD, 0, _INF, "/proc/diskstats", "Bytes read."),
    Metric("node_disk_written_bytes_total",          _C, "bytes",   "node", _BO, _LOAD, 0, _INF, "/proc/diskstats", "Bytes written."),
    Metric("node_disk_busy_seconds_total",           _C, "seconds", "node", _HI, _LOAD, 0, _INF, "/proc/diskstats", "Time in which a disk was busy."),
    Metric("node_network_receive_bytes_total",       _C, "bytes",   "node", _BO, _LOAD, 0, _INF, "/proc/net/dev", "Bytes received."),
    Metric("node_network_transmit_bytes_total",      _C, "bytes",   "node", _BO, _LOAD, 0, _INF, "/proc/net/dev", "Bytes sent."),
    Metric("node_network_receive_errors_total",      _C, "errors",  "node", _HI, _ERR, 0, _INF, "/proc/net/dev", "Packets received with an error."),
    Metric("node_network_transmit_errors_total",     _C, "errors",  "node", _HI, _ERR, 0, _INF, "/proc/net/dev", "Packets that could not be sent."),
    Metric("node_network_drops_total",               _C, "drops",   "node", _HI, _LOAD, 0, _INF, "/proc/net/dev", "Packets dropped."),
    Metric("node_hwmon_temperature_celsius",         _G, "celsius", "node", _HI, _LOAD, -60, 150, "/sys/class/hwmon (m°C)", "Temperature of a board sensor."),
    Metric("node_hwmon_critical_celsius",            _G, "celsius", "node", _BO, _FLAG, -60, 200, "/sys/class/hwmon (m°C)", "The sensor's own critical limit."),
    Metric("node_hwmon_fan_speed_rpm",               _G, "rpm",     "node", _LO, _LOAD, 0, 50000, "/sys/class/hwmon", "Fan speed of a board sensor."),
    Metric("node_uptime_seconds",                    _G, "seconds", "node", _BO, _FLAG, 0, 1e10, "/proc/uptime", "Time since boot."),
    Metric("node_job_step_seconds",                  _G, "seconds", "node", _HI, _LOAD, 0, 1e5, "training framework", "Time of one training step, before waiting for the others."),
    # --- network -----------------------------------------------------------------------------------------------
    Metric("port_up",                                _G, "bool",    "port", _LO, _FLAG, 0, 1, "sysfs state / ifOperStatus", "The link is active."),
    Metric("port_rate_bits_per_second",              _G, "bits_per_second", "port", _LO, _FLAG, 0, 1e13, "sysfs rate", "Negotiated rate; a lower one means down-training."),
    Metric("port_link_downs_total",                  _C, "downs",   "port", _HI, _ERR, 0, _INF, "link_downed", "Times that the link went down; +1 at each boot is normal."),
    Metric("port_symbol_errors_total",               _C, "errors",  "port", _HI, _ERR, 0, _INF, "symbol_error", "Symbol errors: degrading optics or cable."),
    Metric("port_receive_errors_total",              _C, "errors",  "port", _HI, _ERR, 0, _INF, "port_rcv_errors", "Packets received broken."),
    Metric("port_receive_bytes_total",               _C, "bytes",   "port", _BO, _LOAD, 0, _INF, "port_rcv_data x 4", "Bytes received."),
    Metric("port_transmit_bytes_total",              _C, "bytes",   "port", _BO, _LOAD, 0, _INF, "port_xmit_data x 4", "Bytes sent."),
    # --- power and cooling -------------------------------------------------------------------------------------
    Metric("psu_input_power_watts",                  _G, "watts",   "psu", _BO, _LOAD, 0, 2e4, "PMBus / Redfish", "Power a supply draws."),
    Metric("psu_up",                                 _G, "bool",    "psu", _LO, _FLAG, 0, 1, "PMBus / Redfish", "The supply delivers."),
    Metric("psu_fan_speed_rpm",                      _G, "rpm",     "psu", _LO, _LOAD, 0, 50000, "PMBus", "Fan speed of a supply."),
    Metric("pdu_power_watts",                        _G, "watts",   "pdu", _HI, _LOAD, 0, 1e7, "SNMP", "Power that a PDU passes on, losses included."),
    Metric("pdu_voltage_volts",                      _G, "volts",   "pdu", _BO, _CALM, 0, 1000, "SNMP", "Voltage at a PDU's inlet."),
    Metric("pdu_up",                                 _G, "bool",    "pdu", _LO, _FLAG, 0, 1, "SNMP", "The feed is live."),
    Metric("crac_supply_temperature_celsius",        _G, "celsius", "crac", _HI, _CALM, -10, 80, "SNMP / BACnet", "Temperature of the air a unit supplies."),
    Metric("crac_return_temperature_celsius",        _G, "celsius", "crac", _HI, _LOAD, -10, 90, "SNMP / BACnet", "Temperature of the air that comes back."),
    Metric("crac_fan_speed_ratio",                   _G, "ratio",   "crac", _LO, _LOAD, 0, 1.2, "SNMP / BACnet", "Fan speed."),
    Metric("crac_power_watts",                       _G, "watts",   "crac", _BO, _LOAD, 0, 1e6, "SNMP / BACnet", "Power a unit draws."),
    Metric("cdu_supply_temperature_celsius",         _G, "celsius", "cdu", _HI, _CALM, -10, 90, "Redfish CDU", "Temperature of the coolant supplied."),
    Metric("cdu_return_temperature_celsius",         _G, "celsius", "cdu", _HI, _LOAD, -10, 100, "Redfish CDU", "Temperature of the coolant that comes back."),
    Metric("cdu_flow_litres_per_minute",             _G, "litres_per_minute", "cdu", _LO, _CALM, 0, 1e5, "Redfish CDU", "Coolant flow."),
    Metric("cdu_pump_speed_ratio",                   _G, "ratio",   "cdu", _LO, _CALM, 0, 1.2, "Redfish CDU", "Pump speed."),
    Metric("site_power_watts",                       _G, "watts",   "site", _BO, _LOAD, 0, 1e10, "utility meter", "Power of the whole site, cooling included."),
    # --- the collectors about themselves -----------------------------------------------------------------------
    Metric("collector_up",                           _G, "bool",    "node", _LO, _FLAG, 0, 1, "", "The last scrape worked."),
    Metric("collector_duration_seconds",             _G, "seconds", "node", _HI, _LOAD, 0, 1e4, "", "How long the last scrape took."),
    Metric("collector_errors",                       _G, "errors",  "node", _HI, _FLAG, 0, 1e6, "", "Reads of the last scrape that failed."),
)
# fmt: on

CATALOGUE: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}

_UNITS = frozenset({
    "joules", "watts", "celsius", "ratio", "percent", "rpm", "hertz", "volts", "amperes", "bytes", "seconds",
})  # fmt: skip
# Load moves these wherever they are measured; a voltage or a battery it should not.
_MOVED_BY_LOAD = frozenset({"watts", "joules", "ratio", "percent", "hertz", "bytes", "amperes", "rpm", "celsius"})


def metric_of(name: str) -> Metric:
    """
    Return the catalogue's row, or for a metric it does not know what its name gives away.

    An unknown metric is stored and scored all the same; only its harm and range are unknown.
    """
    known = CATALOGUE.get(name)
    if known is not None:
        return known
    stem = name.removesuffix("_total")
    counter = stem != name
    unit = stem.rpartition("_")[2]
    if unit not in _UNITS:
        unit = ""
    drive = Drive.LOAD if counter or unit in _MOVED_BY_LOAD else Drive.STEADY
    kind = Kind.COUNTER if counter else Kind.GAUGE
    return Metric(name, kind, unit, "", Harm.BOTH, drive, -_INF, _INF, "", "")
