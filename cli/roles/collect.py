"""``run collect``: this machine's collectors to Kafka, through a spool on disk while Kafka is away."""

from __future__ import annotations

from contextlib import ExitStack

from cli.roles.process import Process
from cli.roles.servers import bus_of, where_bus
from cli.service import Worker
from cli.settings import spool_folder
from cli.sources import Sources
from coldaisle.bus import EVENTS, FRAMES, Bus
from coldaisle.codec import encode_event, encode_frame
from coldaisle.errors import ConfigError, Permanent, Transient
from collectors.shipper import Shipper, ShipperSettings

_PATIENCE_SECONDS = 5.0


def begin(process: Process, stack: ExitStack) -> str:
    """
    Start collecting at once, whether Kafka is there or not; return what runs, in words.

    Raises ConfigError.
    """
    settings = process.settings
    if not process.configured:
        raise ConfigError("nothing to collect: the configuration has no [[collector]]; see config/example.toml")
    bus = bus_of(settings, process.stats)
    stack.callback(bus.close)
    limits = settings.spool
    spool = ShipperSettings(spool_folder(settings), limits.max_bytes, order_seconds=limits.order_seconds)
    shipper = Shipper(bus.producer(), encode_frame, encode_event, process.clock, process.stats, spool)
    sources = Sources(process.configured, shipper.ship, process.clock, process.stats, settings.node, process.stop)
    shipper.start()
    stack.callback(shipper.stop)
    sources.start()
    stack.callback(sources.stop)
    process.readiness.lacks("kafka", "not asked yet")
    stack.enter_context(Worker("kafka", _Look(process, bus).step, process.stop))
    return f"{', '.join(sources.names)} of {settings.node} to {where_bus(settings)}, spool in {spool_folder(settings)}"


class _Look:
    """Looks now and then whether Kafka is there with the topics that collectors write."""

    def __init__(self, process: Process, bus: Bus) -> None:
        self._process, self._bus = process, bus

    def step(self) -> None:
        """Look, then wait. Raises ConfigError where a topic is missing or the user is refused."""
        try:
            for topic in (FRAMES, EVENTS):
                self._bus.partitions(topic)
        except Transient as error:
            self._process.readiness.lacks("kafka", f"{error}; what is collected waits in the spool")
        except Permanent as error:
            raise ConfigError(f"{error}; `coldaisle doctor` says what is wrong") from error
        else:
            self._process.readiness.has("kafka")
        self._process.stop.wait(_PATIENCE_SECONDS)
