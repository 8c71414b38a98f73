"""What a look at a server found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FindingSeverity = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """
    One line of ``coldaisle doctor``.

    ``part`` names what was looked at (``kafka topic frames``), ``text`` what is and what should be. A finding
    that is not ``ok`` says in ``remedy`` what a person can do; where ``fixable``, ``coldaisle doctor --fix``
    does it. No secret ever stands in either.
    """

    part: str
    severity: FindingSeverity
    text: str
    remedy: str = ""
    fixable: bool = False
