"""Reads everything that one GPU says about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pynvml

from collectors.nvml.library import ABSENT_METRIC, DRIVER_GONE, GPU_IS_LOST, REASONS, Handle, Nvml, code_of
from collectors.port import Unread

Reading = tuple[str, float]
"""Metric and value in the catalogue's unit."""

# NVML fields (nvml.h NVML_FI_*); the reasons' counters are nanoseconds.
_MEMORY_TEMPERATURE = 82
_POWER_CAP_NS, _SW_THERMAL_NS, _HW_THERMAL_NS, _POWER_BRAKE_NS = 74, 269, 270, 271
_NVLINK_ERRORS = (161, 162, 163)  # replays, recoveries, CRC errors; the scope is the link
_DEVICE_FIELDS = (_MEMORY_TEMPERATURE, _POWER_CAP_NS, _SW_THERMAL_NS, _HW_THERMAL_NS, _POWER_BRAKE_NS)
_VALUE_OF_TYPE = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # nvmlValueType_t

_GPU_SENSOR = 0
_SHUTDOWN, _SLOWDOWN = 0, 1
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0
_TRANSMIT, _RECEIVE = 0, 1


class Lost(Exception):
    """The GPU has fallen off the bus."""


class DriverGone(Exception):
    """The driver was unloaded or replaced."""


class _Question(NamedTuple):
    """One call and the metrics that its answer gives."""

    call: str  # without the prefix nvmlDevice
    arguments: tuple[int, ...]
    tell: Callable[[Any], Iterator[Reading]]


def read_gpu(nvml: Nvml, handle: Handle, links: int) -> Iterator[Reading | Unread]:
    """
    Yield every metric that this board and driver know.

    What they do not know is absent; what fails is Unread. Raises Lost or DriverGone.
    """
    for question in _QUESTIONS:
        try:
            answer = getattr(nvml, f"nvmlDevice{question.call}")(handle, *question.arguments)
        except pynvml.NVMLError as error:
            unread = _sort_out(error, question.call)
            if unread is not None:
                yield unread
            continue
        yield from question.tell(answer)
    yield from _fields(nvml, handle, links)


def _sort_out(error: Exception, call: str) -> Unread | None:
    code = code_of(error)
    if code == GPU_IS_LOST:
        raise Lost(call) from error
    if code in DRIVER_GONE:
        raise DriverGone(f"{call}: {error}") from error
    return None if code in ABSENT_METRIC else Unread(call, REASONS.get(code, "nvml error"))


def _one(metric: str, factor: float = 1) -> Callable[[Any], Iterator[Reading]]:
    def tell(answer: Any) -> Iterator[Reading]:
        yield metric, float(answer * factor)

    return tell


def _utilization(rates: Any) -> Iterator[Reading]:
    yield "gpu_utilization_ratio", rates.gpu / 100
    yield "gpu_memory_utilization_ratio", rates.memory / 100


def _fan(percent: int) -> Iterator[Reading]:
    yield "gpu_fan_speed_ratio", percent / 100


def _memory(memory: Any) -> Iterator[Reading]:
    yield "gpu_memory_used_bytes", float(memory.used)
    yield "gpu_memory_total_bytes", float(memory.total)


def _remapped(rows: tuple[int, int, int, int]) -> Iterator[Reading]:
    for part, value in zip(("correctable", "uncorrectable", "pending", "failed"), rows, strict=True):
        yield f"gpu_remapped_rows_{part}", float(value)


def _fields(nvml: Nvml, handle: Handle, links: int) -> Iterator[Reading | Unread]:
    wanted = [*_DEVICE_FIELDS, *((field, link) for link in range(links) for field in _NVLINK_ERRORS)]
    try:
        answers = nvml.nvmlDeviceGetFieldValues(handle, wanted)
    except pynvml.NVMLError as error:
        unread = _sort_out(error, "GetFieldValues")
        if unread is not None:
            yield unread
        return
    found: dict[int, float] = {}
    for answer in answers:
        code = answer.nvmlReturn
        if code == GPU_IS_LOST:
            raise Lost("GetFieldValues")
        if code == 0 and 0 <= answer.valueType < len(_VALUE_OF_TYPE):
            value = float(getattr(answer.value, _VALUE_OF_TYPE[answer.valueType]))
            found[answer.fieldId] = found.get(answer.fieldId, 0.0) + value
        elif code not in ABSENT_METRIC:
            yield Unread(f"field {answer.fieldId}", REASONS.get(code, "nvml error"))
    yield from _sums(found, "gpu_memory_temperature_celsius", (_MEMORY_TEMPERATURE,), 1.0)
    yield from _sums(found, "gpu_throttle_thermal_seconds_total", (_SW_THERMAL_NS, _HW_THERMAL_NS), 1e9)
    yield from _sums(found, "gpu_throttle_power_brake_seconds_total", (_POWER_BRAKE_NS,), 1e9)
    yield from _sums(found, "gpu_throttle_power_cap_seconds_total", (_POWER_CAP_NS,), 1e9)
    yield from _sums(found, "gpu_nvlink_errors_total", _NVLINK_ERRORS, 1.0)


def _sums(found: dict[int, float], metric: str, fields: tuple[int, ...], divisor: float) -> Iterator[Reading]:
    values = [found[field] for field in fields if field in found]
    if values:
        yield metric, sum(values) / divisor


# fmt: off
_QUESTIONS = (
    _Question("GetPowerUsage",                   (), _one("gpu_power_watts", 1e-3)),
    _Question("GetEnforcedPowerLimit",           (), _one("gpu_power_limit_watts", 1e-3)),
    _Question("GetPowerManagementDefaultLimit",  (), _one("gpu_power_limit_default_watts", 1e-3)),
    _Question("GetTotalEnergyConsumption",       (), _one("gpu_energy_joules_total", 1e-3)),
    _Question("GetTemperature",                  (_GPU_SENSOR,), _one("gpu_temperature_celsius")),
    _Question("GetTemperatureThreshold",         (_SLOWDOWN,), _one("gpu_temperature_slowdown_celsius")),
    _Question("GetTemperatureThreshold",         (_SHUTDOWN,), _one("gpu_temperature_shutdown_celsius")),
    _Question("GetMarginTemperature",            (), _one("gpu_temperature_margin_celsius")),
    _Question("GetClockInfo",                    (_SM_CLOCK,), _one("gpu_clock_sm_hertz", 1e6)),
    _Question("GetClockInfo",                    (_MEMORY_CLOCK,), _one("gpu_clock_memory_hertz", 1e6)),
    _Question("GetCurrentClocksEventReasons",    (), _one("gpu_throttle_reasons")),
    _Question("GetUtilizationRates",             (), _utilization),
    _Question("GetMemoryInfo",                   (), _memory),
    _Question("GetTotalEccErrors",               (_CORRECTED, _VOLATILE), _one("gpu_ecc_corrected_errors_total")),
    _Question("GetTotalEccErrors",               (_UNCORRECTED, _VOLATILE), _one("gpu_ecc_uncorrected_errors_total")),
    _Question("GetRemappedRows",                 (), _remapped),
    _Question("GetPcieReplayCounter",            (), _one("gpu_pcie_replays_total")),
    _Question("GetCurrPcieLinkWidth",            (), _one("gpu_pcie_link_width_lanes")),
    _Question("GetCurrPcieLinkGeneration",       (), _one("gpu_pcie_link_generation")),
    _Question("GetPcieThroughput",               (_TRANSMIT,), _one("gpu_pcie_transmit_bytes_per_second", 1e3)),
    _Question("GetPcieThroughput",               (_RECEIVE,), _one("gpu_pcie_receive_bytes_per_second", 1e3)),
    _Question("GetFanSpeed",                     (), _fan),
)
# fmt: on
