"""A folder with one rule and its example, for tests in which it does not matter which rules there are."""

from __future__ import annotations

from pathlib import Path

_RULE = """
[[rule]]
name = "full"
on = "metric"
metric = "m_ratio"
above = 0.9
severity = "ticket"
summary = "{entity}"
"""
_EXAMPLE = """
[[example]]
name = "full from the start"
series = [{metric = "m_ratio", labels = {node = "n1"}, values = "0.95x5"}]
expect = [{rule = "full", entity = "node/n1"}]
"""


def one_rule(folder: Path) -> Path:
    """Write the rule and its example into a new ``folder``; return it."""
    folder.mkdir()
    (folder / "mine.toml").write_text(_RULE, encoding="utf-8")
    (folder / "mine.test.toml").write_text(_EXAMPLE, encoding="utf-8")
    return folder
