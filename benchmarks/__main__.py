"""``python -m benchmarks [NAME...]``: every benchmark of the house, or the named ones, one after another."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

BENCHMARKS = {
    "scoring": "samples a second and memory, beside a bare decode loop and river",
    "detectors": "what level, peers and calibration cost a sample, by size of fleet and group",
    "forest": "rows a second of an isolation forest beside scikit-learn's own scoring",
    "simulator": "a simulated hall of 10,000 GPUs",
    "kafka_bus": "our Kafka consumer and producer beside the bare client, on a real broker",
    "halls": "how well five simulated halls with faults are judged (ten minutes)",
    "normal_life": "whether the alert budget is kept on days of halls in which nothing breaks (ten minutes)",
    "peer_drift": "one node of 64 that weakens by 3 %: found, how soon, and alone (needs published logs; ten minutes)",
    "forecasts": "light, N-HiTS and TFT forecasts beside seasonal-naive, time to limit (`make forecast`; ten minutes)",
    "expected_bands": "whether the bands that Explore draws hold what they promise, and what they cost",
    "early_warning": "precision and lead of warnings in ten simulated halls never looked at (ten minutes)",
    "fuzz": "broken messages for every codec; none may crash, hang or fill the memory (--inputs 1000000)",
    "influx_store": "samples a second into InfluxDB and Parquet, beside influxdb-client alone",
    "incident_store": "questions of a history of 100,000 incidents",
    "calibration": "whether stated probabilities come true on normal life, and the budget is kept (needs the sets too)",
    "planted": "how well `coldaisle score` finds what is planted in one metric's daily life",
    "planted_together": "the same in eight metrics that go together, beside a PCA",
    "unplanted": "how often it calls in twelve lives of eight metrics in which nothing is planted",
    "score_real_data": "how well `coldaisle score` finds the labelled events of published sets (needs them; minutes)",
}

LONG = frozenset(
    {
        "early_warning",
        "forecasts",
        "halls",
        "normal_life",
        "peer_drift",
        "planted",
        "planted_together",
        "score_real_data",
        "unplanted",
    }
)


def main() -> int:
    """Run what was asked for; return 1 where one failed."""
    listed = "\n".join(f"  {name:16} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measures this machine.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all but those that take ten minutes)")
    args, options = parser.parse_known_args()
    if options and len(args.names) != 1:
        parser.error(f"{' '.join(options)}: name the one benchmark that these options are for")
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    failed = []
    for name in args.names or [name for name in BENCHMARKS if name not in LONG]:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        began = time.perf_counter()
        # A process each: what one leaves in memory must not weigh on the next.
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode:
            failed.append(name)
        print(f"   {time.perf_counter() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
