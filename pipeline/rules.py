"""Reads the folders of rules, and tests them with the examples beside them."""

from __future__ import annotations

from pathlib import Path

from coldaisle.config import load as load_section
from coldaisle.config import parse, read_toml
from coldaisle.errors import ConfigError
from pipeline.rule_examples import ExampleFile, Failure, play
from pipeline.rulebook import Rule, RuleBook, RuleFile

__all__ = ["Failure", "RuleBook", "load", "run_tests"]

_TEST = ".test.toml"


def load(folder: Path) -> RuleBook:
    """
    Read every ``*.toml`` of ``folder`` in order of names; the first rule that matches holds.

    Raises ConfigError that names the file, the rule and what to write instead.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of rules")
    rules: list[Rule] = []
    origin: dict[str, Path] = {}
    for path in _files(folder):
        for rule in load_section(path, RuleFile).rule:
            if rule.name in origin:
                raise ConfigError(f"{path}: rule {rule.name!r} stands in {origin[rule.name].name} too; rename one")
            origin[rule.name] = path
            rules.append(rule)
    return RuleBook(rules)


def run_tests(folder: Path) -> list[Failure]:
    """
    Play the examples of every ``*.test.toml``; return what went otherwise than they expect.

    A file of rules without examples is a failure too. Raises ConfigError when a file cannot be read.
    """
    book = load(folder)
    failures: list[Failure] = [] if len(book) else [Failure(folder.name, "", "holds no rules")]
    for path in _files(folder):
        beside = path.with_name(path.name.removesuffix(".toml") + _TEST)
        if not beside.exists():
            failures.append(Failure(path.name, "", f"has no examples; write {beside.name}"))
            continue
        examples = parse(read_toml(beside), ExampleFile, str(beside))
        tried: set[str] = set()
        for example in examples.example:
            tried |= {each.rule for each in example.expect}
            for event_rule in book.event_rules():
                event_rule.begin_anew()
            failures += [Failure(beside.name, example.name, text) for text in play(book, example)]
        for rule in load_section(path, RuleFile).rule:
            if rule.name not in tried:
                failures.append(Failure(beside.name, "", f"no example expects rule {rule.name!r}; write one"))
    return failures


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.toml")) if not path.name.endswith(_TEST)]
