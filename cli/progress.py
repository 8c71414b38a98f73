"""A progress bar on stderr: redrawn on a terminal, a line every tenth elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO


class Progress:
    """Shows how far long work has come. ``show`` may be called as often as one likes."""

    def __init__(self, what: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._what, self._quiet = what, quiet
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._shown = -1

    def show(self, share: float) -> None:
        """Say that ``share`` (0..1) is done."""
        percent = int(100 * min(max(share, 0.0), 1.0))
        due = percent != self._shown if self._terminal else percent // 10 > self._shown // 10
        if self._quiet or not due:
            return
        self._shown = percent
        if self._terminal:
            bar = "█" * (percent // 4) + "░" * (25 - percent // 4)
            self._stream.write(f"\r{self._what} {bar} {percent:3d} %")
        else:
            self._stream.write(f"{self._what} {percent} %\n")
        self._stream.flush()

    def done(self) -> None:
        """End the line."""
        if self._terminal and not self._quiet and self._shown >= 0:
            self._stream.write("\n")
            self._stream.flush()
