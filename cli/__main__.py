"""``python -m cli`` is ``coldaisle``."""

from cli.main import entry

entry()
