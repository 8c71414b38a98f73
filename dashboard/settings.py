"""How the pages are served."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from coldaisle.config import Section


class ServeConfig(Section):
    """Where the pages and the API listen. Anything but this machine itself needs a token."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8800
    token: SecretStr | None = None
    url: str = ""  # under which people reach the page, for links in notifications; empty = as it listens
    refresh_seconds: Annotated[float, Field(ge=1, le=60)] = 3.0
    stale_after_seconds: Annotated[float, Field(gt=0)] = 90.0  # a GPU silent for longer is unknown, never fine
    allowed_hosts: tuple[str, ...] = ()  # names under which a proxy reaches us; empty = any, once a token is asked for

    @model_validator(mode="after")
    def _a_token_beyond_loopback(self) -> ServeConfig:
        if not self.loopback and self.token is None:
            raise ValueError(f"listening on {self.host} needs a token: set serve.token, or listen on 127.0.0.1")
        if self.token is not None and len(self.token.get_secret_value()) < 16:
            raise ValueError("serve.token is shorter than 16 characters: make one with `openssl rand -hex 24`")
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
