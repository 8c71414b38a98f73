"""The example names every key there is, with its default, and is a configuration that works."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cli.main import main
from cli.settings import ReceiverConfig, Settings, collectors, read
from collectors.registry import COLLECTORS
from collectors.schedule import ScrapeConfig
from pipeline.alerting.settings import MaintenanceWindow

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
WITHOUT_DEFAULT = "not the default but an example"
_COMMENTED = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)
# What an example must show, although the default is nothing, long, or of this machine.
_SHOWN_AS_EXAMPLE = {
    "node", "topology", "rules", "serve.token", "alerts.maintenance", "host.skip_filesystem_types", "host.skip_disks",
    "prometheus.name", "prometheus.url", "prometheus.labels", "prometheus.bearer_token", "prometheus.ca_file",
    "receiver.name", "receiver.url", "receiver.secret", "receiver.secret_file",
    "maintenance.matchers", "maintenance.starts_at", "maintenance.ends_at", "maintenance.comment",
}  # fmt: skip


def whole() -> dict[str, Any]:
    """The example with everything in it that is commented out."""
    return tomllib.loads(_COMMENTED.sub("", TEXT))


def sections() -> Iterator[tuple[str, type[BaseModel], dict[str, Any]]]:
    """Every section: its name, its class, and the table in the example."""
    document = whole()
    yield "", Settings, {key: value for key, value in document.items() if key not in ("collector", "receiver")}
    for kind, entry in COLLECTORS.items():
        table = next(row for row in document["collector"] if row["kind"] == kind)
        yield kind, entry.config, {key: value for key, value in table.items() if key != "kind"}
    yield "receiver", ReceiverConfig, document["receiver"][0]
    yield "maintenance", MaintenanceWindow, document["alerts"]["maintenance"][0]


def keys(name: str, model: type[BaseModel], table: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every key below a class: its dotted name, its default, and what the example says (None: nothing)."""
    for key, field in model.model_fields.items():
        if (name, key) in (("", "collectors"), ("", "receivers")):
            continue
        dotted = f"{name}.{key}" if name else key
        inner = field.annotation
        said = table.get(key) if isinstance(table, dict) else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(dotted, inner, said)
        else:
            yield dotted, field.default, said


ROWS = [row for section in sections() for row in keys(*section)]


def test_the_walk_meets_every_part_of_the_house() -> None:
    names = {name.split(".")[0] for name, _, _ in ROWS}
    assert {"hall", "serve", "storage", "engine", "alerts", "host", "prometheus", "nvml", "receiver"} <= names
    assert {"host.interval_seconds", "receiver.url", "engine.load_detectors"} <= {name for name, _, _ in ROWS}


@pytest.mark.parametrize("name", [name for name, _, _ in ROWS])
def test_the_example_names_every_key(name: str) -> None:
    said = next(row[2] for row in ROWS if row[0] == name)
    assert said is not None, f"config/example.toml does not name {name}: add it with its default and its meaning"


@pytest.mark.parametrize("name", [name for name, _, _ in ROWS if name not in _SHOWN_AS_EXAMPLE])
def test_what_the_example_says_is_the_default(name: str) -> None:
    _, default, said = next(row for row in ROWS if row[0] == name)
    assert default is not PydanticUndefined, f"{name} has no default: put it into _SHOWN_AS_EXAMPLE"
    as_toml = list(default) if isinstance(default, tuple) else default
    assert said == (str(as_toml) if isinstance(default, Path) else as_toml)


def test_every_line_says_what_it_means() -> None:
    bare = [
        line
        for line in TEXT.splitlines()
        if re.match(r"(# )?[a-z_]+ = ", line)
        and " # " not in line.removeprefix("# ")
        and not re.match(r"# (starts_at|ends_at|comment|url) = ", line)
    ]
    assert bare == []


def test_the_example_loads_as_it_stands() -> None:
    settings = read(EXAMPLE)
    assert [each.kind for each in collectors(settings, "example")] == ["host"]
    assert settings.serve == Settings().serve
    assert settings.engine == Settings().engine
    assert settings.alerts == Settings().alerts


def test_the_example_loads_with_all_that_is_commented_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDAISLE_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("EXPORTER_TOKEN", "secret")
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=")
    text = "\n".join(
        line for line in _COMMENTED.sub("", TEXT).splitlines() if not line.startswith("secret_file")
    )  # instead of `secret`, says its line
    path = tmp_path / "all.toml"
    path.write_text(text, encoding="utf-8")
    settings = read(path)
    found: list[tuple[str, type[ScrapeConfig]]] = [(c.kind, type(c.config)) for c in collectors(settings, "all")]
    assert found == [(kind, entry.config) for kind, entry in sorted(COLLECTORS.items(), key=_place_of)]
    assert [each.name for each in settings.receivers] == ["oncall"]
    assert len(settings.alerts.maintenance) == 1


def _place_of(row: tuple[str, Any]) -> int:
    return TEXT.index(f'kind = "{row[0]}"')


def test_check_config_finds_the_example_fine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", str(EXAMPLE)]) == 0
    assert "fine (1 collectors" in capsys.readouterr().out


def test_literals_are_the_ones_that_the_class_takes() -> None:
    severities = whole()["receiver"][0]["severities"]
    line = next(line for line in TEXT.splitlines() if line.startswith("# severities"))
    allowed = get_args(get_args(ReceiverConfig.model_fields["severities"].annotation)[0])
    assert set(severities) <= set(allowed)
    assert all(f'"{each}"' in line.partition("  # ")[2] for each in allowed)
