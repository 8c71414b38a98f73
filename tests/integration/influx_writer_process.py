"""A process that writes to InfluxDB and says after each flush how far it is; a test kills it."""

from __future__ import annotations

import sys

import numpy as np

from coldaisle.frame import Block
from coldaisle.series import Layout, Series, labels
from coldaisle.store.influx import InfluxStore
from coldaisle.store.influx_settings import InfluxConfig

BEGIN, STEP = 1_763_780_400_000_000_000, 1_000_000_000


def main() -> None:
    """Write a sample of ten nodes a turn, for ever. Reads the settings, as JSON, from standard input."""
    store = InfluxStore(InfluxConfig.model_validate_json(sys.stdin.readline()))
    layout = Layout(Series("m_watts", labels(node=f"n{node}")) for node in range(10))
    index = np.arange(10)
    turn = 0
    while True:
        store.write([Block(layout, index, np.full(10, BEGIN + turn * STEP), np.full(10, float(turn)))])
        store.flush()
        turn += 1
        print(turn, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
