"""``coldaisle evaluate``: what each detector is worth on labelled data, beside noise and the classic method."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cli import evaluation_table
from cli.evaluation_cases import DEFAULT_INTERVAL, find
from cli.evaluation_marks import DEFAULT, DETECTORS, chosen, judge_file
from cli.evaluation_recordings import RecordingMarks, judge_recording, recordings_text
from cli.progress import Progress
from coldaisle.errors import ConfigError, Permanent

BUDGET_EVENTS_PER_DAY = 0.2
JOBS = 2
T = TypeVar("T")
_ABOUT = f"""\
Labelled data is: npz files with test [rows, metrics], label [rows] and, if there is one, train (normal life before);
CSV or Parquet files with a column `label`; recordings with truth.jsonl; or folders of such files.

detectors (--detectors a,b,c or all; {", ".join(DEFAULT)} unless said):
{chr(10).join(f"  {name:18}{what}" for name, what in DETECTORS.items())}

examples:
  coldaisle evaluate data/smd data/asd --interval asd=5m --html report.html
  coldaisle evaluate hall-with-truth --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _ABOUT
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="labelled files, recordings or folders")
    parser.add_argument("--detectors", metavar="A,B", help="which; random and pca are always shown")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_EVENTS_PER_DAY, metavar="N", help="false events a day and file (0.2)"
    )
    parser.add_argument(
        "--interval", action="append", default=[], metavar="SPAN",
        help=f"time between rows of npz files ({DEFAULT_INTERVAL}); FOLDER=5m for one folder",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, help="settings for recordings (default: the shipped ones)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures; nothing else is needed")
    parser.add_argument("--each", action="store_true", help="print every file, not only the means")
    parser.add_argument("--json", action="store_true", help="print one object instead of tables")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help=f"processes ({JOBS})")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Judge everything, then print. Raises ConfigError."""
    if not args.budget > 0:
        raise ConfigError(f"--budget {args.budget:g}: give a number above 0, the false events a day you can bear")
    if args.jobs < 1:
        raise ConfigError(f"--jobs {args.jobs}: give 1 or more")
    detectors = chosen(args.detectors)
    if args.html is not None and not args.html.absolute().parent.is_dir():
        raise ConfigError(f"{args.html}: no such folder to write into; make it, or name another")
    found = find(args.paths, args.interval)
    if found.unlabelled and not args.quiet:
        print(f"coldaisle: {found.unlabelled} files without a column `label` are left out", file=sys.stderr)
    progress = Progress("evaluate", quiet=args.quiet)
    work: list[Callable[[], Any]] = [partial(judge_file, place, detectors, args.budget) for place in found.places]
    work += [partial(judge_recording, path, args.config) for path in found.recordings]
    answers = list(_all(work, min(args.jobs, len(work)), progress))
    progress.done()
    files, recordings = answers[: len(found.places)], answers[len(found.places) :]
    if args.html is not None:
        from cli.evaluation_page import write_page

        write_page(args.html, files, recordings, args.budget)
    if args.json:
        told = evaluation_table.document(files, args.budget)
        told["recordings"] = [one.to_json() for one in recordings]
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print(_text(files, recordings, args.budget, args.each))
        if args.html is not None:
            print(f"\n{args.html}: open it in a browser")
    return 0


def _text(files: Sequence[Any], recordings: Sequence[RecordingMarks], budget: float, each: bool) -> str:
    parts = [evaluation_table.text(files, budget, each)] if files else []
    if recordings:
        parts.append(recordings_text(recordings))
    return "\n\n".join(parts)


def _all(work: Sequence[Callable[[], T]], jobs: int, progress: Progress) -> Iterator[T]:
    """Yield what each piece of work returns, in order; the first that fails stops everything."""
    if jobs == 1:
        for number, piece in enumerate(work):
            yield piece()
            progress.show((number + 1) / len(work))
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: list[Future[T]] = [pool.submit(piece) for piece in work]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                progress.show(number / len(work))
        except BrokenProcessPool as error:
            raise Permanent("a process of ours was killed, most likely for want of memory; try --jobs 1") from error
        finally:
            for future in futures:
                future.cancel()
        yield from (future.result() for future in futures)
