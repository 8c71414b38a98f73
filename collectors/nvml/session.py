"""One thread for each GPU and one for Xids, while the driver stays loaded."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pynvml

from coldaisle.clock import Clock
from coldaisle.event import Event
from coldaisle.series import labels
from collectors.nvml.gpu import DriverGone, Lost, Reading, read_gpu
from collectors.nvml.library import GPU_IS_LOST, TIMEOUT, Handle, Nvml, address_of, code_of
from collectors.port import Unread

_log = logging.getLogger(__name__)
_XID_CRITICAL = 0x8  # nvmlEventTypeXidCriticalError
_WAIT_MS = 500
_MAX_EVENTS = 10_000


class Answer(NamedTuple):
    """What one GPU said in one scrape."""

    uuid: str  # empty while it never said
    readings: tuple[Reading | Unread, ...] = ()
    lost: bool = False
    driver_gone: str = ""


class GpuThread:
    """Asks one GPU, in its own thread, since a sick one blocks for seconds."""

    def __init__(self, nvml: Nvml, index: int, links: int, known: Callable[[Handle, str], None]) -> None:
        """``known`` is called, in this thread, once the GPU has told its name."""
        self._nvml, self.index, self._links, self._known = nvml, index, links, known
        self.uuid = ""
        self._handle: object = None
        self._change = threading.Condition()
        self._asked = self._stopping = False
        self._answer: Answer | None = None
        self.thread = threading.Thread(target=self._run, name=f"gpu {index}", daemon=True)
        self.thread.start()

    def ask(self) -> bool:
        """Begin a read; return False where the one before still hangs."""
        with self._change:
            if self._asked:
                return False
            self._asked, self._answer = True, None
            self._change.notify_all()
            return True

    def answer(self, timeout_seconds: float) -> Answer | None:
        """Return what it said, or None when it did not in time."""
        with self._change:
            self._change.wait_for(lambda: self._answer is not None, timeout_seconds)
            return self._answer

    def stop(self) -> None:
        """Tell the thread to end; it does when its GPU lets it."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._asked or self._stopping)
                if self._stopping:
                    return
            answer = self._read()
            with self._change:
                self._answer, self._asked = answer, False
                self._change.notify_all()

    def _read(self) -> Answer:
        readings: list[Reading | Unread] = []
        try:
            if not self.uuid:
                self._handle = self._nvml.nvmlDeviceGetHandleByIndex(self.index)
                self.uuid = self._nvml.nvmlDeviceGetUUID(self._handle)
                self._known(self._handle, self.uuid)
            readings.extend(read_gpu(self._nvml, self._handle, self._links))
        except Lost:
            # Half of what a GPU said while it was leaving is not worth keeping.
            return Answer(self.uuid, lost=True)
        except DriverGone as error:
            return Answer(self.uuid, driver_gone=str(error))
        except pynvml.NVMLError as error:
            if code_of(error) == GPU_IS_LOST:
                return Answer(self.uuid, lost=True)
            return Answer(self.uuid, (Unread(f"GPU {self.index}: {error}", "nvml error"),))
        return Answer(self.uuid, tuple(readings))


class XidThread:
    """Waits for Xids, so that each has the time at which it came."""

    def __init__(self, nvml: Nvml, node: str, clock: Clock) -> None:
        """Raises NVMLError where the driver has no event sets."""
        self._nvml, self._node, self._clock = nvml, node, clock
        self._set = nvml.nvmlEventSetCreate()
        self._uuids: dict[int, str] = {}  # by the address of the handle
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="xids", daemon=True)
        self.thread.start()

    def register(self, handle: Handle, uuid: str) -> None:
        """Listen to one GPU; from its own thread, since a sick one blocks here too."""
        self._uuids[address_of(handle)] = uuid
        try:
            self._nvml.nvmlDeviceRegisterEvents(handle, _XID_CRITICAL, self._set)
        except pynvml.NVMLError as error:
            _log.info("GPU %s tells no Xids through NVML: %s", uuid, error)

    def drain(self) -> list[Event]:
        """Return the Xids since the last call."""
        found: list[Event] = []
        with suppress(IndexError):
            while True:
                found.append(self._events.popleft())
        return found

    def stop(self, timeout_seconds: float) -> bool:
        """End; return whether the thread has let go of the library."""
        self._stop.set()
        self.thread.join(timeout_seconds)
        return not self.thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                data = self._nvml.nvmlEventSetWait_v2(self._set, _WAIT_MS)
            except pynvml.NVMLError as error:
                if code_of(error) != TIMEOUT:
                    # A lost GPU makes the call fail at once, again and again.
                    self._stop.wait(_WAIT_MS / 1000)
                continue
            if data.eventType & _XID_CRITICAL:
                self._events.append(self._event(data))
        with suppress(pynvml.NVMLError):  # the driver may be gone already
            self._nvml.nvmlEventSetFree(self._set)

    def _event(self, data: Any) -> Event:
        code = str(int(data.eventData))
        uuid = self._uuids.get(address_of(data.device), "")
        where = labels(node=self._node, gpu=uuid) if uuid else labels(node=self._node)
        return Event("xid", code, self._clock.now(), where, f"Xid {code} on {uuid or 'an unknown GPU'}")


class Session:
    """The driver as it was when we began: its GPUs by index."""

    def __init__(self, nvml: Nvml, node: str, clock: Clock, links: int) -> None:
        """Raises NVMLError."""
        self._nvml = nvml
        nvml.nvmlInit()
        try:
            count = nvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            nvml.nvmlShutdown()
            raise
        try:
            self.xids: XidThread | None = XidThread(nvml, node, clock)
        except pynvml.NVMLError as error:
            _log.info("this driver tells no Xids through NVML: %s", error)
            self.xids = None
        known = self.xids.register if self.xids is not None else _nothing
        self.gpus = tuple(GpuThread(nvml, index, links, known) for index in range(count))

    def close(self, timeout_seconds: float = 1.0) -> None:
        """
        End every thread and let go of the driver.

        The library is shut down only when nobody is inside it: doing so under a hanging call can crash the
        process.
        """
        for gpu in self.gpus:
            gpu.stop()
        free = self.xids is None or self.xids.stop(timeout_seconds)
        for gpu in self.gpus:
            gpu.thread.join(timeout_seconds / len(self.gpus))
            free = free and not gpu.thread.is_alive()
        if free:
            with suppress(pynvml.NVMLError):
                self._nvml.nvmlShutdown()


def _nothing(handle: Handle, uuid: str) -> None:
    """Take note of a GPU where nobody listens."""
