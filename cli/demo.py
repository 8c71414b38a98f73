"""``coldaisle demo``: a simulated AI hall with faults, the whole pipeline, and the page in the browser."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cli.service import Stop, Worker
from cli.settings import ReceiverConfig, Settings, StorageConfig
from cli.up import with_options
from coldaisle.bus import EVENTS, FRAMES
from coldaisle.clock import SECOND, Clock, SystemClock, rfc3339
from coldaisle.codec import HeadCache, encode_event, encode_frame
from coldaisle.config import parse
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store.incident_json import incident_to_public
from coldaisle.store.recording import RecordingWriter
from collectors.port import Step
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator

if TYPE_CHECKING:
    from cli.house import House


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seed", type=int, default=1, help="another seed is another hall with other faults")
    parser.add_argument("--speed", type=float, default=5.0, help="simulated seconds a second (default 5)")
    parser.add_argument("--duration", type=float, help="stop after so many simulated seconds")
    parser.add_argument("--rows", type=int, default=4, help="rows of the hall (default 4: 1,024 GPUs)")
    parser.add_argument("--racks", type=int, default=8, help="racks a row (default 8)")
    parser.add_argument("--nodes", type=int, default=4, help="nodes a rack, of 8 GPUs each (default 4)")
    parser.add_argument("--headless", action="store_true", help="no invitation to look: print incidents as they open")
    parser.add_argument("--json", action="store_true", help="with --headless: one JSON object a line")
    parser.add_argument("--webhook", metavar="URL", help="post every incident to this address")
    parser.add_argument("--record", type=Path, metavar="DIR", help="write what the hall says as a recording")
    parser.add_argument("--data", type=Path, help="keep incidents and samples here (default: forgotten at the end)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port of the page (default 8800, 0 = any free one)")


class HallClock:
    """
    The simulated hall's time: runs ``speed`` times as fast as ours, but never ahead of what the hall has said.

    A machine too slow for the speed asked for sees a slower hall, not a hall whose telemetry is late.
    """

    def __init__(self, start: int, speed: float, real: Clock) -> None:
        self._real, self._speed = real, speed
        self._lock = threading.Lock()
        self._event, self._wall, self._ahead = start, real.now(), 0

    def now(self) -> int:
        """Return Unix ns."""
        with self._lock:
            return self._event + min(round((self._real.now() - self._wall) * self._speed), self._ahead)

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of the hall's time."""
        self._real.sleep(seconds / self._speed)

    def reached(self, event: int, step_ns: int) -> None:
        """Say that everything up to ``event`` has been told, and that the next step takes ``step_ns``."""
        with self._lock:
            self._event, self._wall, self._ahead = event, self._real.now(), step_ns


_MOST_STEPS_BEHIND = 3


class _Teller:
    """Tells the bus what the hall says, at the hall's pace, but no faster than it is judged."""

    def __init__(
        self, simulator: Simulator, clock: HallClock, running: House, stop: Stop, writer: RecordingWriter | None
    ) -> None:
        self._simulator, self._clock, self._stop, self._writer = simulator, clock, stop, writer
        self._producer = running.bus.producer()
        self._unscored = running.unscored
        self._most_unscored = 0
        self._heads = HeadCache()
        self._steps = simulator.steps()
        self._step_ns = round(simulator.config.step_seconds * SECOND)
        self._real = SystemClock()
        self._due = self._real.now()
        self._pause = round(self._step_ns / clock._speed)

    def step(self) -> None:
        """Tell one step, then wait until the next is due."""
        step = next(self._steps, None)
        if step is None:
            self._stop.ask()
            self._stop.wait(1.0)
            return
        self._tell(step)
        self._clock.reached(step.now, self._step_ns)
        while self._unscored() > self._most_unscored and not self._stop.wait(0.005):
            continue
        self._due = max(self._due + self._pause, self._real.now() - SECOND)
        self._real.sleep((self._due - self._real.now()) / SECOND)

    def _tell(self, step: Step) -> None:
        for event in step.events:
            self._producer.produce(EVENTS, (event.label("node") or "").encode(), encode_event(event))
        frames = self._simulator.frames(step)
        for frame in frames:
            self._producer.produce(FRAMES, frame.node.encode(), encode_frame(frame, self._heads))
        self._most_unscored = max(self._most_unscored, _MOST_STEPS_BEHIND * len(frames))
        if self._writer is not None:
            self._writer.write(step.block, "simulator")
            for event in step.events:
                self._writer.write_event(event)


class _Crier:
    """Prints incidents once as they open and once as they end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, str] = {}

    def __call__(self, incident: Incident) -> None:
        state = "resolved" if incident.state is IncidentState.RESOLVED else "opened"
        if self._told.get(incident.id) == state or incident.severity is Severity.INFO:
            return
        self._told[incident.id] = state
        if self._as_json:
            print(json.dumps({"type": f"incident.{state}", "data": incident_to_public(incident)}), flush=True)
            return
        when = incident.opened_at if state == "opened" else incident.updated_at
        print(f"{rfc3339(when)}  {state:8}  {incident.severity.value:6}  {incident.title}", flush=True)
        if state == "opened":
            print(f"    why   {incident.reasons[0] if incident.reasons else incident.explanation}", flush=True)
            print(f"    do    {incident.recommended_action}", flush=True)


def run(args: argparse.Namespace) -> int:
    """Run until the duration has passed or SIGINT; 0 after an orderly stop."""
    real = SystemClock()
    config = parse(
        {
            "rows": args.rows, "racks_per_row": args.racks, "nodes_per_rack": args.nodes, "seed": args.seed,
            "start": real.now(), "duration_seconds": args.duration,
        },
        SimulatorConfig, "options",
    )  # fmt: skip
    stop = Stop()
    with ExitStack() as stack:
        folder = args.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coldaisle-demo-")))
        settings = with_options(Settings(hall="simulated hall", storage=StorageConfig(folder=folder)), args)
        if args.webhook:
            receiver = parse({"name": "webhook", "url": args.webhook}, ReceiverConfig, "--webhook")
            settings = settings.model_copy(update={"receivers": (receiver,)})
        simulator = Simulator(config)
        clock = HallClock(simulator.now, args.speed, real)
        writer = stack.enter_context(RecordingWriter(args.record)) if args.record else None
        if writer is not None:
            writer.write_topology(simulator.topology())
        stop.on_signals()
        crier = _Crier(args.json) if args.headless else None
        from cli.house import house  # only now: a mistake in the options is told at once

        running = stack.enter_context(house(settings, clock, simulator.topology(), stop, crier))
        if not args.headless:
            gpus = 8 * args.rows * args.racks * args.nodes
            print(f"Coldaisle watches a simulated hall of {gpus:,} GPUs: {running.address}", flush=True)
        teller = _Teller(simulator, clock, running, stop, writer)
        with Worker("simulator", teller.step, stop):
            stop.wait()
        if writer is not None:
            for truth in simulator.truth:
                writer.write_truth(truth)
    if stop.failed:
        print(f"coldaisle: {stop.failure}", file=sys.stderr)
        return 1
    return 0
