"""Settings from the environment and from secret files: what they mean, and what a mistake in them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.settings import models_folder, read, secrets_of, snapshots_folder, spool_folder
from coldaisle.errors import ConfigError


def config(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_variable_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, '[storage]\nfolder = "data"\nflush_seconds = 5\n[engine]\ntick_seconds = 2.0\n')
    monkeypatch.setenv("COLDAISLE__STORAGE__FLUSH_SECONDS", "0.5")
    monkeypatch.setenv("COLDAISLE__STORAGE__FOLDER", "/srv/cold")
    monkeypatch.setenv("COLDAISLE__ENGINE__TICK_SECONDS", "auto")
    monkeypatch.setenv("COLDAISLE__ENGINE__LOAD_DETECTORS", '["level", "peers"]')
    monkeypatch.setenv("COLDAISLE__BUS__KAFKA__SERVERS", '["k1:9092", "k2:9092"]')
    monkeypatch.setenv("COLDAISLE__HEALTH__PORT", "0")
    monkeypatch.setenv("COLDAISLE__BUS__KAFKA__TOPICS__FRAMES__PARTITIONS", "32")
    settings = read(path)
    assert settings.storage.flush_seconds == 0.5
    assert settings.storage.folder == Path("/srv/cold")
    assert settings.engine.tick_seconds == "auto"
    assert settings.engine.load_detectors == ("level", "peers")
    assert settings.bus.kafka.servers == ("k1:9092", "k2:9092")
    assert settings.bus.kafka.topics["frames"].partitions == 32
    assert settings.health.port == 0


def test_a_key_of_text_takes_a_variable_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDAISLE__HALL", "[north] 7")
    monkeypatch.setenv("COLDAISLE__SERVE__TOKEN", "{1234567890123456}")
    settings = read(None)
    assert settings.hall == "[north] 7"
    assert settings.serve.token is not None
    assert settings.serve.token.get_secret_value() == "{1234567890123456}"


def test_sections_that_are_there_several_times_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(tmp_path, '[[receiver]]\nname = "a"\nurl = "http://a/"\n[[collector]]\nkind = "host"\n')
    monkeypatch.setenv("COLDAISLE__RECEIVER__0__URL", "https://b/hook")
    monkeypatch.setenv("COLDAISLE__COLLECTOR__0__INTERVAL_SECONDS", "30")
    settings = read(path)
    assert settings.receivers[0].url == "https://b/hook"
    assert settings.collectors[0].options["interval_seconds"] == "30"
    monkeypatch.setenv("COLDAISLE__RECEIVER__1__URL", "https://c/hook")
    with pytest.raises(ConfigError, match=r"^COLDAISLE__RECEIVER__1__URL: receiver has 1 entries"):
        read(path)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("COLDAISLE__STORAGE__FOLDR", "did you mean 'folder'"),
        ("COLDAISLE__STOARGE__FOLDER", "did you mean 'storage'"),
        ("COLDAISLE__HALL__NAME", "holds a value, not a section"),
    ],
)
def test_an_unknown_variable_is_a_mistake(monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigError) as caught:
        read(None)
    assert str(caught.value).startswith(f"{variable}: ")
    assert said in str(caught.value)


def test_a_wrong_value_of_a_variable_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDAISLE__STORAGE__FLUSH_SECONDS", "soon")
    with pytest.raises(ConfigError, match=r"^COLDAISLE__STORAGE__FLUSH_SECONDS: storage.flush_seconds: "):
        read(config(tmp_path, 'hall = "x"\n'))


def test_a_secret_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sixteen letters or more\n")
    settings = read(config(tmp_path, '[serve]\ntoken = "${file:token}"\n'))
    assert settings.serve.token is not None
    assert settings.serve.token.get_secret_value() == "sixteen letters or more"
    assert list(secrets_of(settings)) == ["sixteen letters or more"]
    assert "sixteen" not in repr(settings)


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("\n", "is empty"), (b"\xff\xfe", "not text")])
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | bytes | None, said: str) -> None:
    if isinstance(content, str):
        (tmp_path / "token").write_text(content)
    elif content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(config(tmp_path, '[serve]\ntoken = "${file:token}"\n'))
    assert f"{tmp_path / 'token'}" in str(caught.value)
    assert "serve: token" in str(caught.value)
    assert said in str(caught.value)


def test_a_password_in_an_address_is_refused_without_being_told(tmp_path: Path) -> None:
    path = config(tmp_path, '[storage]\nincidents = "postgresql://cold:canary-in-url@db/cold"\n')
    with pytest.raises(ConfigError, match=r"storage\.incidents_password") as caught:
        read(path)
    assert "canary" not in str(caught.value)


def test_models_lie_in_the_data_folder_unless_said(tmp_path: Path) -> None:
    assert models_folder(read(config(tmp_path, '[storage]\nfolder = "d"\n'))) == tmp_path / "d/models"
    assert models_folder(read(config(tmp_path, '[models]\nfolder = "m"\n'))) == tmp_path / "m"


def test_snapshots_and_spool_lie_in_the_data_folder_unless_said(tmp_path: Path) -> None:
    settings = read(config(tmp_path, '[storage]\nfolder = "d"\n'))
    assert (snapshots_folder(settings), spool_folder(settings)) == (tmp_path / "d/snapshots", tmp_path / "d/spool")
    settings = read(config(tmp_path, '[snapshots]\nfolder = "s"\n[spool]\nfolder = "/p"\n'))
    assert (snapshots_folder(settings), spool_folder(settings)) == (tmp_path / "s", Path("/p"))
