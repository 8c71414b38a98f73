"""The image: built from locked parts, with nothing in it that it does not need."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest

from tests.deployed import DEPLOY, ROOT, documents, understood

PACKAGES = ("coldaisle", "collectors", "pipeline", "models", "dashboard", "cli", "config")

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("deploy-check")]


@pytest.fixture(scope="module")
def stages() -> list[dict[str, Any]]:
    read = understood("dockerfile", DEPLOY / "Dockerfile")
    assert read["warnings"] == []
    found: list[dict[str, Any]] = read["stages"]
    return found


def texts(stage: dict[str, Any], name: str) -> list[str]:
    return [each["text"] for each in stage["instructions"] if each["name"] == name]


def test_both_stages_stand_on_one_pinned_base(stages: list[dict[str, Any]]) -> None:
    assert len(stages) == 2
    assert len({stage["base"] for stage in stages}) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", stages[0]["base"])


def test_everything_installed_is_locked_by_its_hash_or_built_here(stages: list[dict[str, Any]]) -> None:
    commands = [part.strip() for text in texts(stages[0], "RUN") for part in text.split("&&")]
    installs = [shlex.split(each) for each in commands if re.search(r"\bpip\b.* (install|wheel) ", each)]
    assert len(installs) == 4
    for words in installs:
        locked = "--require-hashes" in words and "--requirement" in words
        ours = "--no-deps" in words and (words[-1] == "." or words[-1].startswith("/wheels/coldaisle-"))
        assert locked or ours, words
        if locked:
            lock = (ROOT / words[words.index("--requirement") + 1]).read_text(encoding="utf-8")
            assert lock.count("\n    --hash=sha256:") >= len(re.findall(r"^\S+==\S+ \\$", lock, re.MULTILINE)) > 0
            assert not re.search(r"^[^\s#][^=]*$", lock, re.MULTILINE)
    backend = re.search(r'requires = \["(.+)"\]', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert backend is not None
    assert f"{backend[1]} \\\n" in (ROOT / "requirements" / "build.lock").read_text(encoding="utf-8")


def test_the_last_stage_only_takes_what_the_first_has_made(stages: list[dict[str, Any]]) -> None:
    assert texts(stages[1], "COPY") == ["COPY --from=build /opt/coldaisle /opt/coldaisle"]
    commands = " ".join(texts(stages[1], "RUN"))
    assert "pip uninstall --yes pip setuptools wheel" in commands
    assert not re.search(r"\b(apt-get|install --no|curl|wget|gcc)\b", commands)


def test_it_runs_as_the_user_that_compose_and_kubernetes_name(stages: list[dict[str, Any]]) -> None:
    services = documents(ROOT / "docker-compose.yml")[0]["services"]
    assert texts(stages[1], "USER") == [f"USER {services['score']['user']}"]
    assert stages[1]["instructions"][-1]["name"] == "CMD"
    assert texts(stages[1], "ENTRYPOINT") == ['ENTRYPOINT ["coldaisle"]']
    user, group = services["score"]["user"].split(":")
    assert f"--owner={user} --group={group} /var/lib/coldaisle" in " ".join(texts(stages[1], "RUN"))


def test_the_build_sees_what_it_needs_and_nothing_else() -> None:
    let = set(understood("context", ROOT))
    tracked = subprocess.run(
        ["git", "ls-files", "--", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    needed = {name for name in tracked if "/testdata/" not in name and (ROOT / name).is_file()}
    assert needed <= let
    others = {name for name in let if name.split("/")[0] not in PACKAGES}
    assert others == {
        "LICENSE", "README.md", "pyproject.toml", "requirements/base.lock", "requirements/build.lock",
    }  # fmt: skip
    assert not [name for name in let if "__pycache__" in name or "secret" in name.rsplit("/", 1)[-1].split(".")[0]]
