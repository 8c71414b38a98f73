"""`coldaisle import`: turns CSV or Parquet history, long or wide, into a recording."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pyarrow as pa

from cli.history_samples import Collector, Columns, History
from cli.history_tables import Table, batches
from cli.progress import Progress
from cli.sensor_status import status_events
from coldaisle.clock import rfc3339
from coldaisle.errors import ConfigError, Transient
from coldaisle.frame import Block
from coldaisle.store.recording import RecordingWriter

_WRITE_ROWS = 1 << 18
_EXAMPLES = """\
A long table has a row for each reading (--metric-column and --value-column name its parts); a wide one has
a row for each time and a column of numbers for each sensor. Times are ISO 8601 (UTC unless they name a zone)
or epochs.

examples:
  coldaisle import day.csv.gz -o day --time-column ts --node-column node --metric-column sensor \\
      --value-column value --unit-column unit --status-column status
  coldaisle import power.csv temperature.parquet -o history --node n017
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV, CSV.gz or Parquet")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RECORDING", help="the folder to make")
    parser.add_argument("--time-column", metavar="NAME", help="when (wide tables: the first column unless named)")
    parser.add_argument("--node-column", metavar="NAME", help="which node a row speaks of")
    parser.add_argument("--metric-column", metavar="NAME", help="which sensor; makes the table a long one")
    parser.add_argument("--value-column", metavar="NAME", help="what the sensor read")
    parser.add_argument("--unit-column", metavar="NAME", help="in which unit")
    parser.add_argument("--status-column", metavar="NAME", help="ok, nc, cr, nr; a change becomes an event")
    parser.add_argument("--node", metavar="NAME", help="the node of files that do not tell (else: the file's name)")
    parser.add_argument("--no-header", action="store_true", help="the first line is data already")
    parser.add_argument("--columns", metavar="A,B,C", help="the names of the columns of a file without a header")
    parser.add_argument("--delimiter", metavar="C", help="what parts the cells (else a comma; a tab in .tsv)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


def run(args: argparse.Namespace) -> int:
    """Import; raises ConfigError, and then nothing is left behind."""
    columns = _columns(args)
    dropped: Counter[str] = Counter()
    sizes = [_size(path) for path in args.files]
    progress = _Reading(sum(sizes), args.quiet)
    try:
        with RecordingWriter(args.output) as writer:
            collector = Collector(columns, dropped)
            done = 0
            for path, size in zip(args.files, sizes, strict=True):
                node = args.node or path.name.partition(".")[0]
                progress.done = done
                for batch in batches(path, _table(args, path), progress, dropped):
                    collector.add(batch, path, node)
                done += size
            history = collector.finish()
            if not len(history.times):
                raise ConfigError(f"{', '.join(map(str, args.files))}: no row can be used{_reasons(dropped)}")
            events = status_events(history)
            for event in events:
                writer.write_event(event)
            _write(history, writer)
    except Transient as error:
        # For whoever typed the command a full disk is theirs to mend: one line, exit code 2.
        raise ConfigError(str(error)) from error
    except (MemoryError, pa.ArrowMemoryError) as error:
        raise ConfigError("the files together are larger than this machine's memory; import fewer at once") from error
    finally:
        progress.end()
    if not args.quiet:
        print(_summary(args.output, history, len(events), dropped, collector.skipped()))
    return 0


def _columns(args: argparse.Namespace) -> Columns:
    if args.no_header != (args.columns is not None):
        raise ConfigError("--no-header and --columns go together: the one says that the other names the columns")
    if (args.metric_column is None) != (args.value_column is None):
        raise ConfigError("--metric-column and --value-column go together; a wide table needs neither")
    if args.metric_column is None and (args.unit_column or args.status_column):
        raise ConfigError("--unit-column and --status-column need --metric-column and --value-column")
    if args.metric_column is not None and args.time_column is None:
        raise ConfigError("--time-column is missing; a long table has no column that is time by itself")
    return Columns(
        args.time_column,
        args.node_column,
        args.metric_column,
        args.value_column,
        args.unit_column,
        args.status_column,
    )


def _table(args: argparse.Namespace, path: Path) -> Table:
    names = tuple(name.strip() for name in args.columns.split(",")) if args.columns else ()
    if len(set(names)) != len(names) or (args.columns and not all(names)):
        raise ConfigError(f"--columns: {args.columns!r} names a column twice or not at all")
    delimiter = args.delimiter or ("\t" if ".tsv" in path.name.lower() else ",")
    if len(delimiter) != 1:
        raise ConfigError(f"--delimiter: {delimiter!r} is not one character")
    return Table(names, delimiter)


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; name the files in it")
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _write(history: History, writer: RecordingWriter) -> None:
    for start in range(0, len(history.times), _WRITE_ROWS):
        part = slice(start, start + _WRITE_ROWS)
        block = Block(history.layout, history.index[part].astype("int64"), history.times[part], history.values[part])
        writer.write(block, collector="import")


def _summary(output: Path, history: History, events: int, dropped: Counter[str], skipped: list[str]) -> str:
    nodes = {series.label("node") for series in history.layout.series}
    span = f"{rfc3339(int(history.times[0]))} to {rfc3339(int(history.times[-1]))}"
    lines = [
        f"{output}: {len(history.times):,} samples of {len(history.layout):,} series on {len(nodes):,} nodes, "
        f"{span}; {events:,} status events"
    ]
    lines += [f"  {count:,} rows: {reason}" for reason, count in sorted(dropped.items())]
    if skipped:
        lines.append(f"  columns without numbers, left out: {', '.join(skipped)}")
    return "\n".join(lines)


def _reasons(dropped: Counter[str]) -> str:
    return "".join(f"; {count:,} rows: {reason}" for reason, count in sorted(dropped.items()))


class _Reading:
    """Shows how many bytes of all files together are read."""

    def __init__(self, total: int, quiet: bool) -> None:
        self._total = max(total, 1)
        self._progress = Progress("reading", quiet)
        self.done = 0  # bytes of the files before this one

    def __call__(self, read: int) -> None:
        self._progress.show((self.done + read) / self._total)

    def end(self) -> None:
        """End the line."""
        self._progress.done()
