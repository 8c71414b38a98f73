"""How a process tells what happens: lines for people or JSON for machines, never with a secret in it."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TextIO

from coldaisle.clock import SECOND, rfc3339
from coldaisle.config import Section
from coldaisle.redaction import Redaction

if TYPE_CHECKING:
    from types import TracebackType

_FOREIGN = ("alembic", "httpcore", "httpx", "sqlalchemy", "urllib3", "uvicorn")
"""Libraries whose own progress interests nobody who operates Coldaisle; their warnings do."""
_LOG = logging.getLogger("coldaisle")


class LogConfig(Section):
    """How much is logged, and in which form. Logs go to the standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "warning"


class TextLines(logging.Formatter):
    """One line for people, then the trace where there is one."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of ``record``."""
        return self.redaction(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, role, message, and error where there is one."""

    def __init__(self, redaction: Redaction, role: str) -> None:
        super().__init__()
        self.redaction, self._role = redaction, role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``."""
        error = ""
        if record.exc_info:
            error = self.formatException(record.exc_info)
        line = {
            "time": rfc3339(round(record.created * SECOND)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "role": self._role,
            "message": self.redaction(record.getMessage()),
        }
        return json.dumps(line | ({"error": self.redaction(error)} if error else {}), ensure_ascii=False)


def configure(
    config: LogConfig, role: str, secrets: Iterable[str] = (), verbose: bool = False, stream: TextIO | None = None
) -> None:
    """Send everything that is logged, warned of or dies unseen in a thread through one handler, without ``secrets``."""
    redaction = Redaction(secrets)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(redaction, role) if config.format == "json" else TextLines(redaction))
    level = logging.getLevelNamesMapping()[config.level.upper()]
    level = min(level, logging.INFO) if verbose else level
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    threading.excepthook = _thread_died


def say(message: str, level: int = logging.INFO) -> None:
    """
    Tell one line that must be seen whatever the level: the start on the standard output, an error on the other.

    As text it is the line itself; as JSON one object like any other.
    """
    found = next((handler.formatter for handler in logging.getLogger().handlers if handler.formatter), None)
    if isinstance(found, JsonLines):
        message = found.format(logging.LogRecord("coldaisle", level, "", 0, message, None, None))
    else:
        message = redacted(message if level < logging.ERROR else f"coldaisle: {message}")
    print(message, file=sys.stdout if level < logging.ERROR else sys.stderr, flush=True)


def redacted(text: str) -> str:
    """Return ``text`` without the secrets that the log has been told of."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, (TextLines, JsonLines)):
            text = handler.formatter.redaction(text)
    return text


def _thread_died(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread is not None else "a thread"
    trace: tuple[type[BaseException], BaseException, TracebackType | None] | None = None
    if arguments.exc_value is not None:
        trace = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    _LOG.error("%s died", name, exc_info=trace)
