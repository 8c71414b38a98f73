"""The shipped rules do what their examples say, and a broken file is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldaisle.errors import ConfigError
from pipeline.rules import load, run_tests

RULES = Path(__file__).parents[2] / "config" / "rules"


@pytest.mark.slow  # and part of `make check`
def test_every_shipped_rule_has_an_example_and_does_what_it_says() -> None:
    assert [str(failure) for failure in run_tests(RULES)] == []


def test_every_runbook_that_a_rule_names_exists() -> None:
    root = RULES.parents[1]
    missing = {rule.runbook for rule in load(RULES) if rule.runbook and not (root / rule.runbook).is_file()}
    assert missing == set()


def write(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return folder


GOOD = """
[[rule]]
name = "full"
on = "metric"
metric = "m_ratio"
above = 0.9
severity = "ticket"
summary = "{entity}"
"""


def test_a_misspelt_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml.*for_second"):
        load(write(tmp_path, GOOD + "for_second = 3\n"))


def test_a_template_with_an_unknown_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown word \{entiti\}"):
        load(write(tmp_path, GOOD.replace("{entity}", "{entiti}")))


def test_two_limits_in_one_rule_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one of above"):
        load(write(tmp_path, GOOD + "below = 3\n"))


def test_a_name_used_twice_is_refused_with_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"stands in a\.toml too"):
        load(write(tmp_path, GOOD))


def test_a_rule_without_examples_is_a_failure(tmp_path: Path) -> None:
    failures = run_tests(write(tmp_path, GOOD))
    assert [str(each) for each in failures] == ["mine.toml: has no examples; write mine.test.toml"]


def test_an_example_that_expects_too_much_says_what_came_instead(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "mine.test.toml").write_text(
        '[[example]]\nname = "calm"\nseries = [{metric = "m_ratio", labels = {node = "n1"}, values = "0.5x20"}]\n'
        'expect = [{rule = "full", entity = "node/n1"}]\n',
        encoding="utf-8",
    )
    assert [str(each) for each in run_tests(tmp_path)] == [
        "mine.test.toml: calm: expected full on node/n1 opened; got nothing"
    ]
