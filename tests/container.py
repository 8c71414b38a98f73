"""
Runs one service of a Compose file as a container would, with the kernel's own means and no container engine.

Each container has its own read-only root made of this machine's programmes, its own user, no capability, and only
the mounts that the service names. All of a ``Network`` share one loopback, on which every service's name is known.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from tests.deployed import ROOT

_TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "mount")
_LOOPBACK_UP = """
import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
"""
_ENTER = r"""
set -eu
root="$1" user="$2" group="$3"; shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755 container "$root"
for link in bin sbin lib lib32 lib64; do
    if [ -L "/$link" ]; then cp -a "/$link" "$root/"; continue; fi
    if [ -d "/$link" ]; then mkdir "$root/$link"; mount --bind "/$link" "$root/$link"; fi
done
while [ "$1" != -- ]; do
    kind="$1" source="$2" target="$root$3"; shift 3
    case "$kind" in
        tmpfs) mkdir -p "$target"; mount -t tmpfs -o "mode=1777,$source" container "$target" ;;
        *)
            if [ -d "$source" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}"; : >"$target"; fi
            mount --bind "$source" "$target"
            if [ "$kind" = ro ]; then mount -o remount,bind,ro "$target"; fi ;;
    esac
done
shift
mkdir -p "$root/proc" "$root/dev"
mount --rbind /proc "$root/proc"
mount -o remount,bind,ro "$root"
cd /
exec chroot "$root" setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all -- "$@"
"""


def missing() -> str | None:
    """Return why this machine cannot run containers by hand, None where it can."""
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"may not make namespaces ({tried.stderr.strip()})"


class Network:
    """A loopback of its own, that nobody outside reaches and that reaches nobody."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(hosts)
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Network:
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(b"there\n")
        self._holder.stdin.flush()
        assert self._holder.stdout.readline() == b"there\n"  # by now it has left the old network
        subprocess.run([*self.enter, sys.executable, "-c", _LOOPBACK_UP], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.kill()
            self._holder.communicate()

    @property
    def enter(self) -> list[str]:
        """The words that run a command within it."""
        assert self._holder is not None
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]


class Container:
    """
    One service: its user, file systems, environment and command, as the Compose file has them.

    ``place`` is a folder for what outlives it; ``mounts`` are sources by their target in the container, beside
    what this machine's programmes need. Its words go to ``log``.
    """

    def __init__(
        self, network: Network, place: Path, service: Mapping[str, Any], environment: Mapping[str, str],
        mounts: Mapping[str, Path],
    ) -> None:  # fmt: skip
        self._network, self._place, self._service = network, place, service
        self._environment = dict(environment)
        self.user, self.group = (int(word) for word in service["user"].split(":"))
        self.log = place / "log"
        (place / "root").mkdir(parents=True)
        unordered = {**self._of_this_machine(), **self._of_the_service(mounts)}
        # Outer ones first: a checkout below /tmp would else vanish under the service's own /tmp.
        self._mounts = dict(sorted(unordered.items(), key=lambda each: each[0].count("/")))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *command: str) -> None:
        """Start it; return at once."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._network.enter, "unshare", "--mount", *self._words(command)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": os.environ["PATH"]},
            )  # fmt: skip

    def run(self, *command: str, timeout_seconds: float = 150.0) -> int:
        """Run it to its end; return its exit code."""
        self.start(*command)
        assert self._process is not None
        try:
            return self._process.wait(timeout_seconds)
        finally:
            self.kill()

    def healthy(self) -> bool:
        """Whether it runs and its own health check, run within it, says that it is well."""
        assert self.running, f"it has ended: {self.words()[-2000:]}"
        kind, *words = self._service["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        assert kind in ("CMD", "CMD-SHELL")
        try:
            return self.within(*command).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def within(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user, while it runs."""
        assert self._process is not None
        enter = ["nsenter", f"--target={self._process.pid}", "--net", "--mount", "--root"]
        drop = ["setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups", "--bounding-set=-all"]
        return subprocess.run(
            [*enter, *drop, "--", "env", "-i", "--chdir=/", *self._variables(), *command],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def stop(self) -> int:
        """Ask it to stop, as Compose does; return its exit code. Raises AssertionError past its grace period."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        grace_seconds = float(self._service["stop_grace_period"].removesuffix("s"))
        try:
            return self._process.wait(grace_seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"did not stop within {grace_seconds} s: {self.words()[-2000:]}") from error

    def kill(self) -> None:
        """End whatever is left of it; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):  # it has ended, and everything that it started too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    @property
    def running(self) -> bool:
        """Whether its first process lives."""
        return self._process is not None and self._process.poll() is None

    def resident_bytes(self) -> int:
        """Return how much memory its first process holds."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def words(self) -> str:
        """Return what it has said."""
        return self.log.read_text(errors="replace")

    def _variables(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._environment.items()]

    def _words(self, command: Sequence[str]) -> list[str]:
        mounts: list[str] = []
        for target, (kind, source) in self._mounts.items():
            mounts += [kind, str(source), target]
        begin = ["bash", "-c", _ENTER, "enter", str(self._place / "root"), str(self.user), str(self.group)]
        return [*begin, *mounts, "--", "env", "-i", *self._variables(), *command]

    def _of_this_machine(self) -> dict[str, tuple[str, Path | str]]:
        """What stands in for the image's own files: programmes, libraries, this checkout and its Python."""
        etc = self._place / "etc"
        etc.mkdir()
        (etc / "hosts").write_text(f"127.0.0.1 {' '.join(('localhost', gethostname(), *self._network.hosts))}\n")
        (etc / "passwd").write_text(f"service:x:{self.user}:{self.group}::/tmp:/bin/sh\n")
        (etc / "group").write_text(f"service:x:{self.group}:\n")
        found: dict[str, tuple[str, Path | str]] = {"/usr": ("ro", Path("/usr"))}
        found |= {f"/etc/{name}": ("ro", etc / name) for name in ("hosts", "passwd", "group")}
        libraries = [path for path in Path("/etc").glob("java*") if path.is_dir()]
        for path in (Path("/etc/ld.so.cache"), Path("/etc/alternatives"), Path("/etc/ssl"), *libraries):
            if path.exists():
                found[str(path)] = ("ro", path)
        for path in (Path(sys.base_prefix), ROOT):
            if not path.is_relative_to("/usr"):
                found[str(path)] = ("ro", path)
        found["/opt/coldaisle"] = ("ro", Path(sys.prefix))
        for name in ("null", "zero", "full", "random", "urandom"):
            found[f"/dev/{name}"] = ("rw", Path("/dev") / name)
        found["/dev/shm"] = ("tmpfs", "size=64m")
        return found

    def _of_the_service(self, mounts: Mapping[str, Path]) -> dict[str, tuple[str, Path | str]]:
        """What the Compose file says, with ``mounts`` for what it only names."""
        found: dict[str, tuple[str, Path | str]] = {}
        for each in self._service["tmpfs"]:
            target, _, options = each.partition(":")
            found[target] = ("tmpfs", options or "size=50%")  # the kernel's own default
        for target, source in mounts.items():
            found[target] = ("ro", source)
        for each in self._service.get("volumes", []):
            source, target, *mode = each.split(":")
            if source.startswith("/"):
                found[target] = (mode[0], Path(source))
            else:
                volume = self._place / "volume"
                volume.mkdir(exist_ok=True)
                os.chown(volume, self.user, self.group)
                found[target] = ("rw", volume)
        return found


def skip_unless_possible() -> None:
    """Skip, loudly, where no container can be run by hand."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"{reason}: NOTHING OF docker-compose.yml WAS STARTED")
