"""A trained forecaster in a process of its own, so that scoring imports no torch and never waits for it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from coldaisle.errors import ConfigError, Permanent
from coldaisle.selfstats import SelfStats
from models.artefact import Card, load
from models.forecast.neural import Forecaster
from models.forecast.windows import usual_of

Floats = NDArray[np.float64]
Paths = NDArray[np.float32]
Waiting = Callable[[], Paths | None]
"""Gives quantiles [series, horizon, LEVELS] once they are there; None where there will be none."""

START_SECONDS: Final = 300.0
"""Importing torch takes seconds, and minutes where all cores are busy."""
PATIENCE_SECONDS: Final = 60.0
"""Who has not answered by then has died or hangs: a thousand series take a third of a second."""
MOST_SERIES: Final = 20_000
"""More series than this at a time would take longer than a minute with the slower kind of network."""
NICENESS: Final = 10
"""Scoring goes first wherever both want a core."""
_LOG = logging.getLogger("coldaisle.models")


class PathForecaster(Protocol):
    """Foretells regular series in quantiles of their next steps; equal questions get equal answers."""

    @property
    def card(self) -> Card:
        """What is known of the model: its kind, version, metrics, and the steps that it takes and gives."""
        ...

    def ask(self, history: Paths, longer: Paths, last: int) -> Waiting:
        """
        Begin to foretell what follows ``history`` [series, encoder], and return at once.

        ``longer`` [series, any] are readings of a longer past, which say where each series usually is, and ``last``
        the time of the last step, Unix ns. NaN = not seen. Never raises.
        """
        ...


class ServedForecaster:
    """
    The model in ``folder``, served by a process that lets all others go first.

    It ends with this object, and with this process whatever ends that. One that fails or hangs is told of once, counted
    in ``forecasts_failed_total``, and asked no more.
    """

    def __init__(self, folder: Path, card: Card, stats: SelfStats) -> None:
        """Start the process and wait until it is ready. Raises ConfigError where the model does not fit the code."""
        self.card = card
        self._stats = stats
        self._horizon = int(card.parameters["horizon"])
        self._levels = len(card.parameters["levels"])
        self._failed = False
        stats.describe("forecasts_total", "counter", "Forecasts that a trained network was asked for.")
        stats.describe("forecasts_failed_total", "counter", "Times that a trained network gave no answer.")
        stats.describe("forecasts_dropped_total", "counter", "Series that a trained network was not asked for.")
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        arguments = (str(folder), card.kind, theirs)
        self._process = context.Process(target=_serve, args=arguments, name="forecast", daemon=True)
        self._process.start()
        theirs.close()
        refusal = _first_word(pipe)
        if refusal:
            pipe.close()
            self._process.join(PATIENCE_SECONDS)
            raise ConfigError(refusal)
        self._asked: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=_forward, args=(pipe, self._asked), name="forecast", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, self._asked.put, None)

    def ask(self, history: Paths, longer: Paths, last: int) -> Waiting:
        """Begin to foretell; see :class:`PathForecaster`."""
        if self._failed:
            return lambda: None
        if len(history) > MOST_SERIES:
            self._stats.add("forecasts_dropped_total", len(history) - MOST_SERIES, reason="too_many_series")
        self._stats.add("forecasts_total", min(len(history), MOST_SERIES))
        future: Future[Paths] = Future()
        self._asked.put(((history[:MOST_SERIES], longer[:MOST_SERIES], last), future))
        return lambda: self._answer(future, len(history))

    def close(self) -> None:
        """End the process."""
        self._end()
        self._thread.join(PATIENCE_SECONDS)
        self._process.join(PATIENCE_SECONDS)

    def _answer(self, future: Future[Paths], count: int) -> Paths | None:
        if self._failed:
            return None
        try:
            told = future.result(PATIENCE_SECONDS)
        except (Permanent, TimeoutError) as error:
            self._failed = True
            self._process.kill()  # one that hangs would keep its memory
            why = str(error) or f"no answer within {PATIENCE_SECONDS:.0f} s"
            _LOG.warning("model %s failed (%s); the light forecaster goes on without it", self.card.version, why)
            self._stats.add("forecasts_failed_total", version=self.card.version)
            return None
        paths = np.full((count, self._horizon, self._levels), np.nan, np.float32)
        paths[: len(told)] = told
        return paths


def _first_word(pipe: Connection) -> str:
    """Return why the process cannot serve; empty = it can."""
    try:
        return str(pipe.recv()) if pipe.poll(START_SECONDS) else f"forecast: not ready within {START_SECONDS:.0f} s"
    except (EOFError, OSError):
        return "forecast: its process ended before it was ready; its last words stand on stderr"


def _forward(pipe: Connection, asked: SimpleQueue[Any]) -> None:
    """Put one question after the other, in a thread: a pipe that is full must hold up nobody else."""
    while (item := asked.get()) is not None:
        question, future = item
        try:
            pipe.send(question)
            told = pipe.recv()
        except (EOFError, OSError):
            future.set_exception(Permanent("its process ended"))
            continue
        if isinstance(told, str):
            future.set_exception(Permanent(told))
        else:
            future.set_result(told)
    pipe.close()


def _serve(folder: str, kind: str, pipe: Connection) -> None:
    """Answer until nobody asks any more; in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted ends us
    with suppress(OSError):
        os.nice(NICENESS)
    try:
        forecaster = Forecaster(*load(Path(folder), kind))
    except ConfigError as error:
        pipe.send(str(error))
        return
    pipe.send("")
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            history, longer, last = pipe.recv()
            pipe.send(_answer(forecaster, history, longer, last))


def _answer(forecaster: Forecaster, history: Paths, longer: Paths, last: int) -> Paths | str:
    try:
        usual = usual_of(longer.astype(np.float64))
        return forecaster.predict(history.astype(np.float64), last, usual).astype(np.float32)
    except Exception as error:  # who asked goes on without us, and says why
        return f"{type(error).__name__}: {error}".splitlines()[0]
