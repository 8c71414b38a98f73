"""Reads the files of a deployment as the tools that will use them do."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CONFIG_IN_CONTAINER = "/etc/coldaisle/coldaisle.toml"
LONG_RUNNING = ("collect", "store", "score", "alert", "serve")
_SOURCE = DEPLOY / "check"


def documents(path: Path) -> list[dict[str, Any]]:
    """Return every YAML document of a file."""
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def understood(kind: str, path: Path) -> Any:
    """
    Return what Docker's own libraries understand of ``path``: a ``compose`` file, a ``dockerfile``, a ``context``.

    Raises AssertionError with their words where they refuse it; skips, loudly, where they cannot be built.
    """
    done = subprocess.run(
        [str(_checker()), kind, str(path)], capture_output=True, text=True, timeout=60, check=False, env={}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@cache
def _checker() -> Path:
    """Return the programme of ``deploy/check``, built once a machine for each version of its source."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: NO TOOL OF DOCKER'S READ docker-compose.yml AND THE DOCKERFILE")
    digest = sha256(b"".join((_SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()
    home = Path(os.environ.get("COLDAISLE_CACHE", "~/.cache/coldaisle")).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    programme = home / f"deploy-check-{digest[:16]}"
    with (home / "deploy-check.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not programme.exists():
            unfinished = programme.with_suffix(".new")
            built = subprocess.run(
                [go, "build", "-mod=readonly", "-o", str(unfinished), "."],
                cwd=_SOURCE, capture_output=True, text=True, timeout=280, check=False,
            )  # fmt: skip
            if built.returncode != 0:
                words = built.stderr.strip().splitlines()[-1]
                pytest.skip(f"NO TOOL OF DOCKER'S READ docker-compose.yml AND THE DOCKERFILE: {words}")
            unfinished.rename(programme)
    return programme


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return a service's variables as Compose resolves them where its user has set none."""
    found: dict[str, str] = {}
    for name, value in service.get("environment", {}).items():
        # Compose writes $$ for a dollar of ours, and ${NAME:-default} for its own variables.
        found[name] = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", value).replace("$$", "$")
    return found
