"""The command line: finds the command, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from cli import logs
from coldaisle.errors import ColdaisleError, ConfigError


class Command(Protocol):
    """What a module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""
        ...


class Entry(NamedTuple):
    """Where a command lives. Its module is imported only when it is asked for, so that each starts quickly."""

    module: str
    help: str


COMMANDS = {
    "demo": Entry("cli.demo", "a simulated AI hall with faults, the whole pipeline, and the page in the browser"),
    "up": Entry("cli.up", "all roles in one process against real collectors"),
    "run": Entry("cli.run_role", "one role as a process of its own, on Kafka: collect, store, score, alert or serve"),
    "score": Entry("cli.score", "score CSV or Parquet files with the pipeline's own detectors"),
    "import": Entry("cli.import_history", "turn CSV or Parquet history into a recording"),
    "replay": Entry("cli.replay", "play a recording through the whole pipeline and print its incidents"),
    "backtest": Entry("cli.backtest", "what a changed rule, budget or model would have told people over a recording"),
    "train": Entry("cli.train", "learn models from history; promote them only where they are better on later data"),
    "models": Entry("cli.models", "which trained model decides, which one is tried, and who decides next"),
    "evaluate": Entry("cli.evaluate", "what each detector is worth on labelled data, as a table and as a page"),
    "incidents": Entry("cli.incidents", "list, show, acknowledge, resolve and export incidents"),
    "predictions": Entry("cli.predictions", "what is expected to fail, and how earlier predictions fared"),
    "deadletters": Entry("cli.deadletters", "list, show, replay and drop what could not be read"),
    "check-config": Entry("cli.check_config", "say what is wrong with a configuration and run the rules' own tests"),
    "doctor": Entry("cli.doctor", "look at servers, topics, folders and clocks, and mend what can be mended"),
    "bench": Entry("cli.bench", "throughput and memory of this machine, as a table"),
}

EXIT_CODES = """\
exit codes:
  0  done
  1  nothing found, or refused (already resolved, a server away)
  2  the input or the configuration is wrong; one line says what and how to mend it
"""


def parser_for(names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the commands in ``names`` have their options declared."""
    parser = argparse.ArgumentParser(
        prog="coldaisle",
        description="From GPU, power, thermal and network telemetry to few, explained incidents.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--verbose", action="store_true", help="log what happens, not only what changes")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, entry in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=entry.help,
            description=entry.help[0].upper() + entry.help[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in names:
            cast("Command", importlib.import_module(entry.module)).add_arguments(sub)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run ``argv`` (without the programme's name); return the exit code."""
    asked = [word for word in argv if word in COMMANDS][:1]
    parser = parser_for(asked)
    args = parser.parse_args(argv)
    if args.version:
        from importlib.metadata import version

        print(f"coldaisle {version('coldaisle')}")
        return 0
    if args.command is None:
        parser.print_help()
        return 0
    logs.configure(logs.LogConfig(), args.command, verbose=args.verbose)
    command = cast("Command", importlib.import_module(COMMANDS[args.command].module))
    try:
        return command.run(args)
    except ConfigError as error:
        logs.say(str(error), logging.ERROR)
        return 2
    except ColdaisleError as error:
        logs.say(str(error), logging.ERROR)
        return 1
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def entry() -> None:
    """Run the command line as installed."""
    # Scoring is vectorised and single-threaded by design; BLAS threads would only fight over the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
