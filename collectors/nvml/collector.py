"""Reads NVIDIA GPUs through the driver's management library."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import cast

import pynvml

from coldaisle.clock import SECOND, Clock
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.frame import Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from collectors.nvml.config import NvmlConfig
from collectors.nvml.library import DRIVER_GONE, LIBRARY_NOT_FOUND, Nvml, code_of
from collectors.nvml.session import Answer, GpuThread, Session
from collectors.port import Unread

_log = logging.getLogger(__name__)


class NvmlCollector:
    """
    Every GPU of one node, each named by its UUID.

    Where there is no driver library the collector is *absent*: it says so once in the log, reads nothing and
    fails nothing, so that one configuration serves GPU nodes and others alike. Where ``expect_gpus`` says
    that there must be GPUs, or the library is there but the driver is not, the scrape fails.
    """

    def __init__(self, nvml: Nvml, config: NvmlConfig, node: str, clock: Clock) -> None:
        self._nvml, self._config, self._node, self._clock = nvml, config, node, clock
        self._session: Session | None = None
        self._told_absent = False
        self._lost: set[str] = set()

    @property
    def name(self) -> str:
        """``nvml`` unless configured otherwise."""
        return self._config.name or "nvml"

    def collect(self, now: int) -> Iterator[Sample | Event | Unread]:
        """Read every GPU, side by side. Raises Transient where the driver does not answer."""
        session = self._open()
        if session is None:
            return
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._begin_again()
            raise Transient(f"the NVIDIA driver does not answer: {error}") from error
        if count != len(session.gpus):
            _log.info("the driver sees %d GPUs where there were %d; beginning again", count, len(session.gpus))
            self._begin_again()
            session = self._open()
            if session is None:
                return
        yield Sample(Series("gpu_count", labels(node=self._node)), now, float(count))
        yield from self._gpus(session, now)
        if session.xids is not None:
            yield from session.xids.drain()
        if count < self._config.expect_gpus:
            raise Transient(f"the driver sees {count} GPUs; {self._config.expect_gpus} are expected")

    def close(self) -> None:
        """End the threads and let go of the driver; safe to call twice."""
        self._begin_again()

    def _gpus(self, session: Session, now: int) -> Iterator[Sample | Event | Unread]:
        busy = {gpu.index for gpu in session.gpus if not gpu.ask()}
        ends = self._clock.now() + round(self._config.gpu_deadline_seconds * SECOND)
        driver_gone = ""
        for gpu in session.gpus:
            if gpu.index in busy:
                yield Unread(f"GPU {gpu.uuid or gpu.index}", "still busy")
                continue
            answer = gpu.answer(max(0.0, (ends - self._clock.now()) / SECOND))
            if answer is None:
                yield Unread(f"GPU {gpu.uuid or gpu.index}", "deadline")
                continue
            driver_gone = driver_gone or answer.driver_gone
            yield from self._told(gpu, answer, now)
        if driver_gone:
            self._begin_again()
            raise Transient(f"the NVIDIA driver is gone: {driver_gone}")

    def _told(self, gpu: GpuThread, answer: Answer, now: int) -> Iterator[Sample | Event | Unread]:
        who = answer.uuid or f"index {gpu.index}"
        if answer.lost:
            yield Unread(f"GPU {who}", "lost")
            if who not in self._lost:
                self._lost.add(who)
                where = labels(node=self._node, gpu=answer.uuid) if answer.uuid else labels(node=self._node)
                text = f"GPU {who} of {self._node} has fallen off the bus"
                yield Event("gpu", "lost", now, where, text, {"index": str(gpu.index)})
            return
        if answer.uuid:
            self._lost -= {answer.uuid, f"index {gpu.index}"}
        of = labels(node=self._node, gpu=answer.uuid)
        for reading in answer.readings:
            if isinstance(reading, Unread):
                yield reading
            else:
                metric, value = reading
                yield Sample(Series(metric, of), now, value)

    def _open(self) -> Session | None:
        """Return the session, beginning one; None where there is no driver library and none is expected."""
        if self._session is not None:
            return self._session
        try:
            self._session = Session(self._nvml, self._node, self._clock, self._config.nvlink_links)
        except pynvml.NVMLError as error:
            code = code_of(error)
            if code != LIBRARY_NOT_FOUND or self._config.expect_gpus:
                hint = "; is it loaded?" if code in DRIVER_GONE else ""
                raise Transient(f"the NVIDIA driver does not answer: {error}{hint}") from error
            if not self._told_absent:
                _log.info("no NVIDIA driver on this node (no libnvidia-ml.so.1): nothing to read")
            self._told_absent = True
            return None
        self._told_absent = False
        return self._session

    def _begin_again(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def nvml_collector(config: NvmlConfig, node: str, clock: Clock, stats: SelfStats) -> NvmlCollector:
    """Return a collector on the driver of this machine."""
    return NvmlCollector(cast(Nvml, pynvml), config, node, clock)
