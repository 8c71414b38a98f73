"""What the documents name exists: links, files, commands, targets and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import COMMANDS, parser_for

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "collectors").glob("*/README.md")),
]
# Here a path in backticks is one of the repository; elsewhere it may be any machine's.
TOP = ("coldaisle", "collectors", "pipeline", "models", "dashboard", "cli", "tests", "benchmarks", "config", "docs",
       "deploy", "requirements", ".ci")  # fmt: skip
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
REPOSITORY_PATH = re.compile(rf"(?:{'|'.join(map(re.escape, TOP))})/[\w./*-]*")
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Every ``coldaisle SUBCOMMAND ...`` and ``make TARGET`` that a document shows as something to type."""
    shown = IN_BACKTICKS.findall(BLOCK.sub("", text))
    shown += [line for block in BLOCK.findall(text) for line in block.splitlines()]
    for line in shown:
        typed = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(coldaisle|make) (?P<rest>[a-z].*)", line)
        if typed:
            yield typed.group(1), typed.group("rest")


def test_there_are_documents() -> None:
    assert {"README.md", "CHANGELOG.md"} <= {path.name for path in DOCUMENTS}
    assert len(DOCUMENTS) > 10


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    broken = []
    for link in LINK.findall(BLOCK.sub("", text)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = (path.parent / target) if target else path
        here = there.exists() and there.resolve().is_relative_to(ROOT)
        if not here or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            broken.append(link)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """The names that headings of a document have as a link's end."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_path_of_the_repository_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = []
    for word in IN_BACKTICKS.findall(BLOCK.sub("", text)):
        if not REPOSITORY_PATH.fullmatch(word):
            continue
        found = any(ROOT.glob(word.rstrip("/"))) if "*" in word else (ROOT / word).exists()
        if not found:
            missing.append(word)
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_that_is_shown_exists(path: Path) -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    unknown = []
    for programme, rest in commands(path.read_text(encoding="utf-8")):
        word = rest.split()[0]
        if word not in (COMMANDS if programme == "coldaisle" else targets):
            unknown.append(f"{programme} {word}")
    assert unknown == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_option_that_is_shown_is_one_of_its_command(path: Path) -> None:
    unknown = []
    for programme, rest in commands(path.read_text(encoding="utf-8")):
        words = rest.split()
        if programme != "coldaisle" or words[0] not in COMMANDS or words[0] == "bench":
            continue
        said = help_of(words[0])
        unknown += [
            f"{words[0]} {option}" for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest) if option not in said
        ]
    assert unknown == []


def help_of(command: str) -> str:
    """Everything that a command says of its options, its actions' too."""
    parser = parser_for([command])
    texts: list[str] = []
    waiting = [parser]
    while waiting:
        one = waiting.pop()
        texts.append(one.format_help())
        for action in one._actions:
            if isinstance(action.choices, dict):
                waiting += action.choices.values()
    return "\n".join(texts)
