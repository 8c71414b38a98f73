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
from cli.settings import SIMULATOR, ReceiverConfig, Settings, collectors, read
from coldaisle.bus.kafka_settings import KafkaConfig
from collectors.registry import COLLECTORS
from collectors.simulator.config import SimulatorConfig
from pipeline.alerting.settings import MaintenanceWindow
from tests.cli.one_rule import one_rule

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
WITHOUT_DEFAULT = "not the default but an example"
_COMMENTED = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)
# What an example must show, although the default is nothing, long, or of this machine.
_SHOWN_AS_EXAMPLE = {
    "node", "topology", "rules", "serve.token", "storage.incidents_password", "storage.influx.url",
    "storage.influx.org", "storage.influx.token", "storage.influx.ca_file", "storage.influx.queue.folder",
    "bus.kafka.ca_file", "bus.kafka.client_cert_file", "bus.kafka.client_key_file", "bus.kafka.user",
    "bus.kafka.password", "bus.kafka.instance", "snapshots.folder", "spool.folder", "models.folder",
    "simulator.duration_seconds", "simulator.build_up_seconds",
    "alerts.maintenance", "host.skip_filesystem_types", "host.skip_disks", "prometheus.name", "prometheus.url",
    "prometheus.labels", "prometheus.bearer_token", "prometheus.ca_file", "receiver.name", "receiver.url",
    "receiver.secret", "receiver.secret_file", "maintenance.matchers", "maintenance.starts_at", "maintenance.ends_at",
    "maintenance.comment",
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
    hall = next(row for row in document["collector"] if row["kind"] == SIMULATOR)
    yield SIMULATOR, SimulatorConfig, {key: value for key, value in hall.items() if key != "kind"}
    yield "receiver", ReceiverConfig, document["receiver"][0]
    yield "maintenance", MaintenanceWindow, document["alerts"]["maintenance"][0]


def keys(name: str, model: type[BaseModel], table: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every key below a class: its dotted name, its default, and what the example says (None: nothing)."""
    for key, field in model.model_fields.items():
        if (name, key) in (("", "collectors"), ("", "receivers"), (SIMULATOR, "start")):
            continue  # a simulated hall among collectors begins when the process does
        dotted = f"{name}.{key}" if name else key
        inner = _section(field.annotation)
        said = table.get(key) if isinstance(table, dict) else None
        if inner is not None:
            yield from keys(dotted, inner, said)
        else:
            default = field.default
            if default is PydanticUndefined and field.default_factory is not None and dotted == "bus.kafka.topics":
                default = {name: topic.model_dump() for name, topic in KafkaConfig().topics.items()}
            yield dotted, default, said


def _section(annotation: Any) -> type[BaseModel] | None:
    """The class of a section that is there, or may be; None for a value."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    possible = [each for each in get_args(annotation) if each is not type(None)]
    return _section(possible[0]) if len(possible) == 1 else None


ROWS = [row for section in sections() for row in keys(*section)]


def test_the_walk_meets_every_part_of_the_house() -> None:
    names = {name.split(".")[0] for name, _, _ in ROWS}
    rooms = {"serve", "storage", "bus", "snapshots", "spool", "health", "log", "engine", "alerts", "hall"}
    assert rooms | {"host", "prometheus", "nvml", "simulator", "receiver"} <= names
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
    secret = tmp_path / "secret"
    secret.write_text("of a file\n")
    lines = (re.sub(r"\$\{file:[^}]*\}", f"${{file:{secret}}}", line) for line in _COMMENTED.sub("", TEXT).splitlines())
    text = "\n".join(line for line in lines if not line.startswith("secret_file"))  # instead of `secret`, says its line
    text = text.replace('security = "plaintext"', 'security = "sasl_tls"')  # else a password is a mistake
    path = tmp_path / "all.toml"
    path.write_text(text, encoding="utf-8")
    settings = read(path)
    found: list[tuple[str, type[BaseModel]]] = [(c.kind, type(c.config)) for c in collectors(settings, "all")]
    known: dict[str, type[BaseModel]] = {kind: entry.config for kind, entry in COLLECTORS.items()}
    assert found == sorted((known | {SIMULATOR: SimulatorConfig}).items(), key=_place_of)
    assert [each.name for each in settings.receivers] == ["oncall"]
    assert len(settings.alerts.maintenance) == 1


def _place_of(row: tuple[str, Any]) -> int:
    return TEXT.index(f'kind = "{row[0]}"')


def test_check_config_finds_the_example_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # With one rule instead of all: those play their examples in the tests of the pipeline.
    text, changed = re.subn(
        r'^# rules = "[^"]*"', f"rules = '{one_rule(tmp_path / 'rules')}'", TEXT, flags=re.MULTILINE
    )
    assert changed == 1
    (tmp_path / "example.toml").write_text(text, encoding="utf-8")
    assert main(["check-config", str(tmp_path / "example.toml")]) == 0
    assert "fine (1 collectors" in capsys.readouterr().out


def test_literals_are_the_ones_that_the_class_takes() -> None:
    severities = whole()["receiver"][0]["severities"]
    line = next(line for line in TEXT.splitlines() if line.startswith("# severities"))
    allowed = get_args(get_args(ReceiverConfig.model_fields["severities"].annotation)[0])
    assert set(severities) <= set(allowed)
    assert all(f'"{each}"' in line.partition("  # ")[2] for each in allowed)
