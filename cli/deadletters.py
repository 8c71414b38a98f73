"""The command ``coldaisle deadletters``: what could not be read, why, and what to do with it."""

from __future__ import annotations

import argparse
import json
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from cli import logs
from cli.actions import add_action
from coldaisle.bus import Bus
from coldaisle.clock import rfc3339
from coldaisle.deadletter import Settled
from coldaisle.deadletter_box import DROPPED, Box, Found, read_box, replay, settle
from coldaisle.errors import ConfigError, Permanent
from coldaisle.selfstats import SelfStats

_PREVIEW_BYTES = 512
_PORTION_BYTES = 256 << 20
_EPILOG = """\
A dead letter's id is where it came from, topic/partition/offset, or store/HASH for a line that a store refused.
Replaying sends the original bytes, key and headers to their topic again; dropping says that nobody needs them.
Both write a marker beside the letter, which stays on the bus until the topic's retention ends.

exit codes:
  0  done
  1  nothing found, or some could not be replayed (only their beginning is kept)
  2  the configuration is wrong; one line says what and how to mend it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _action(actions, "list", "those nobody has dealt with, the oldest first")
    _chosen(listing)
    listing.add_argument("--settled", action="store_true", help="those that were replayed or dropped too")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    show = _action(actions, "show", "everything that is known of one, with its bytes")
    show.add_argument("id")
    show.add_argument("-o", "--output", type=Path, metavar="FILE", help="write its bytes there")
    for name, meaning in (
        ("replay", "send them again, after their reader or their sender was mended"),
        ("drop", "say that nobody needs them"),
    ):
        change = _action(actions, name, meaning)
        change.add_argument("id", nargs="*", help="which; or --all")
        change.add_argument("--all", action="store_true", help="all that nobody has dealt with")
        _chosen(change)
        change.add_argument("--note", default="", metavar="TEXT", help="a line to keep beside them")


def _action(actions: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, meaning, _EPILOG)
    parser.add_argument("--config", type=Path, metavar="F", help="the configuration that names the bus")
    return parser


def _chosen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", metavar="T", help="only what came from this topic (store: what a store refused)")
    parser.add_argument("--reason", metavar="TEXT", help="only those whose reason holds this text")


def run(args: argparse.Namespace) -> int:
    """Do it; return the exit code. Raises ConfigError, Transient."""
    from cli.settings import read, secrets_of

    settings = read(args.config)
    logs.configure(settings.log, "deadletters", secrets_of(settings), args.verbose)
    if settings.bus.kind != "kafka":
        raise ConfigError(
            'the bus is in memory (bus.kind = "memory"), and its dead letters end with its process; '
            'name a configuration with bus.kind = "kafka" by --config F'
        )
    from cli.roles.servers import bus_of

    with closing(bus_of(settings, SelfStats())) as bus:
        return run_on(bus, args)


def run_on(bus: Bus, args: argparse.Namespace) -> int:
    """Do it on ``bus``; return the exit code. Raises ConfigError, Transient."""
    if args.action == "list":
        return _list(read_box(bus), args)
    if args.action == "show":
        return _show(read_box(bus, lambda name: name == args.id), args)
    if bool(args.id) == bool(args.all or args.topic or args.reason):
        raise ConfigError(f"say which to {args.action}: some ids, or --all, --topic or --reason")
    return _change(bus, args)


def _list(box: Box, args: argparse.Namespace) -> int:
    every = list(box.letters.values()) if args.settled else box.waiting()
    found = _matching(every, args)
    shown = found[: max(0, args.limit)]
    _complain(box)
    if args.json:
        _print_json({"dead_letters": [_public(each) for each in shown], "total": len(found)})
    elif not shown:
        print("no dead letter found", file=sys.stderr)
    else:
        width = max(len(each.letter.id) for each in shown)
        for each in shown:
            how = f" [{each.settled.how}]" if each.settled else ""
            print(f"{rfc3339(each.at)[:19]}  {each.letter.id:{width}}  {each.length:>10,} B{how}  {each.letter.reason}")
        if len(found) > len(shown):
            print(f"and {len(found) - len(shown):,} more; see --limit", file=sys.stderr)
    return 0 if shown else 1


def _show(box: Box, args: argparse.Namespace) -> int:
    found = box.letters.get(args.id)
    if found is None:
        print(f"coldaisle: there is no dead letter {args.id!r}; see coldaisle deadletters list", file=sys.stderr)
        return 1
    letter = found.letter
    if args.output is not None:
        try:
            args.output.write_bytes(letter.value)
        except OSError as error:
            raise ConfigError(f"{args.output}: cannot be written: {error.strerror}; name another file") from error
    if args.json:
        _print_json(_public(found) | {"value_base64": b64encode(letter.value).decode()})
        return 0
    part = "" if letter.whole else f"; only the first {len(letter.value):,} are kept, SHA-256 {letter.sha256}"
    rows = [
        ("id", letter.id),
        ("reason", letter.reason),
        ("refused by", ", ".join(found.by) or "unknown"),
        ("dead since", rfc3339(found.at)),
        ("sent at", rfc3339(letter.timestamp) if letter.timestamp else "unknown"),
        ("key", repr(letter.key)),
        ("bytes", f"{found.length:,}{part}"),
        *((f"header {name}", text) for name, text in letter.headers.items()),
    ]
    if found.settled is not None:
        rows.append(("settled", " ".join((found.settled.how, found.settled.note)).strip()))
    for name, text in rows:
        print(f"{name + ':':24} {text}")
    print(f"\n{_preview(letter.value)}")
    return 0


def _change(bus: Bus, args: argparse.Namespace) -> int:
    box = read_box(bus)
    if args.id:
        chosen = [box.letters[name] for name in dict.fromkeys(args.id) if name in box.letters]
    else:
        chosen = _matching(box.waiting(), args)
    done: list[str] = []
    refused = {name: "there is no such dead letter" for name in args.id if name not in box.letters}
    with closing(bus.producer()) as producer:
        if args.action == "drop":
            for each in chosen:
                settle(producer, Settled(each.letter.id, DROPPED, args.note))
                done.append(each.letter.id)
        for portion in _portions(chosen) if args.action == "replay" else ():
            # Read again, now with their bytes: the first look kept none, since a full topic would not fit in memory.
            letters = read_box(bus, portion.__contains__).letters
            for name in portion:
                try:
                    replay(producer, letters[name].letter, args.note)
                    done.append(name)
                except Permanent as error:
                    refused[name] = str(error)
    said = "replayed" if args.action == "replay" else "dropped"
    if args.json:
        _print_json({said: done, "refused": refused})
    else:
        for name, why in refused.items():
            print(f"coldaisle: {why if name in why else f'{name}: {why}'}", file=sys.stderr)
        print(f"{len(done):,} {said}")
    return 0 if done and not refused else 1


def _portions(found: Iterable[Found]) -> Iterator[dict[str, None]]:
    """Yield ids in their order, as many at once as fit in memory."""
    portion: dict[str, None] = {}
    weight = 0
    for each in found:
        if portion and weight + each.length > _PORTION_BYTES:
            yield portion
            portion, weight = {}, 0
        portion[each.letter.id] = None
        weight += each.length
    if portion:
        yield portion


def _matching(found: Iterable[Found], args: argparse.Namespace) -> list[Found]:
    return [
        each
        for each in found
        if (args.topic is None or args.topic == (each.letter.topic or each.letter.id.partition("/")[0]))
        and (args.reason is None or args.reason in each.letter.reason)
    ]


def _public(found: Found) -> dict[str, Any]:
    letter = found.letter
    return {
        "id": letter.id,
        "topic": letter.topic or None,
        "reason": letter.reason,
        "by": found.by,
        "dead_since": rfc3339(found.at),
        "sent_at": rfc3339(letter.timestamp) if letter.timestamp else None,
        "bytes": found.length,
        "whole": letter.whole,
        "sha256": letter.sha256 or None,
        "key": letter.key.decode("utf-8", "backslashreplace"),
        "headers": dict(letter.headers),
        "copies": found.copies,
        "settled": None if found.settled is None else found.settled.how,
        "note": None if found.settled is None else found.settled.note,
    }


def _preview(value: bytes) -> str:
    begin = value[:_PREVIEW_BYTES]
    more = f"\n... {len(value) - len(begin):,} bytes more" if len(value) > len(begin) else ""
    text = begin.decode("utf-8", "ignore")
    if text and all(letter.isprintable() or letter in "\n\t\r" for letter in text):
        return text + more
    rows = [begin[at : at + 16] for at in range(0, len(begin), 16)]
    shown = [f"{16 * n:06x}  {row.hex(' '):47}  {_printable(row)}" for n, row in enumerate(rows)]
    return "\n".join(shown) + more


def _printable(row: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)


def _complain(box: Box) -> None:
    for each in box.unreadable[:5]:
        print(f"coldaisle: {each}", file=sys.stderr)


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))
