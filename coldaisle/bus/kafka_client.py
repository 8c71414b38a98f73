"""What every client of Kafka has in common: how it connects, and what its errors mean to us."""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.errors import ColdaisleError, ConfigError, Permanent, Transient
from coldaisle.selfstats import SelfStats

_QUIET = "kafka"
_REFUSED = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)


class Murmurs(logging.Handler):
    """
    Keeps the last complaints of the client library instead of printing them.

    While a broker is away the library complains several times a second; we say once that it is away, and why.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[str] = deque(maxlen=20)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._lines.append(record.getMessage())

    def reason(self) -> str:
        """Return what most likely was in the way of the last connection."""
        lines = list(self._lines)
        for line in reversed(lines):
            for sign, meaning in _SIGNS.items():
                if sign in line:
                    return meaning
        # A broker that refuses a login says nothing and hangs up; so does one that is spoken to in the wrong way.
        if any("socket disconnected" in line for line in lines):
            return "it hangs up on us: user, password or security is wrong"
        return "nothing answers there"


WRONG_PASSWORD = "user or password is wrong"
"""The one reason that waiting never mends."""
_SIGNS = {
    "SaslAuthenticationFailed": WRONG_PASSWORD,
    "AuthenticationFailed": WRONG_PASSWORD,
    "UnsupportedSaslMechanism": "it does not know the mechanism; set bus.kafka.mechanism to one that it has",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by ca_file, or names another host",
    "certificate verify failed": "its certificate is not signed by ca_file, or names another host",
    "alert certificate required": "it asks for our certificate; set bus.kafka.client_cert_file and client_key_file",
    "CERTIFICATE_REQUIRED": "it asks for our certificate; set bus.kafka.client_cert_file and client_key_file",
    "WRONG_VERSION_NUMBER": "it does not speak TLS there; set bus.kafka.security",
    "ECONNREFUSED": "nothing answers there",
    "Name or service not known": "its host name is unknown",
}


def listen_quietly() -> Murmurs:
    """Return the one that keeps the library's complaints; whoever set the library's log level hears it as before."""
    logger = logging.getLogger(_QUIET)
    for handler in logger.handlers:
        if isinstance(handler, Murmurs):
            return handler
    murmurs = Murmurs()
    logger.addHandler(murmurs)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    return murmurs


@dataclass(frozen=True)
class Shared:
    """What the producers and consumers of one bus share; ``partitions`` says how many a topic has, or raises."""

    config: KafkaConfig
    stats: SelfStats
    murmurs: Murmurs
    partitions: Callable[[str], int]

    def away(self) -> Transient:
        """Return what to say when no broker answers."""
        return Transient(f"kafka at {', '.join(self.config.servers)} is away: {self.murmurs.reason()}")


def connection(config: KafkaConfig) -> dict[str, Any]:
    """Return the options that every client takes. Raises ConfigError where a certificate cannot be read."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(config.servers),
        "client_id": config.client_id,
        "bootstrap_timeout_ms": round(config.connect_seconds * 1000),
        # A broker that comes back is found within a second or so.
        "reconnect_backoff_max_ms": 1000,
        "request_timeout_ms": 15_000,
    }
    if config.security == "plaintext":
        return options
    options["ssl_context"] = _tls(config)
    options["security_protocol"] = "SASL_SSL" if config.security == "sasl_tls" else "SSL"
    if config.user is not None and config.password is not None:
        options["sasl_mechanism"] = config.mechanism
        options["sasl_plain_username"] = config.user
        options["sasl_plain_password"] = config.password.get_secret_value()
    return options


def connect(make: Callable[..., Any], options: dict[str, Any]) -> Any:
    """
    Return the client that ``make`` makes.

    Where it cannot connect, the library leaves a thread and sockets behind for every attempt; they are ended here.
    """
    inner: list[KafkaNetClient] = []

    def remember(*words: Any, **more: Any) -> KafkaNetClient:
        inner.append(KafkaNetClient(*words, **more))
        return inner[-1]

    try:
        return make(**options, kafka_client=remember)
    except Exception:
        for each in inner:
            each.close()
        raise


def _tls(config: KafkaConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"bus.kafka.ca_file {config.ca_file}: is no PEM certificate that can be read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.client_cert_file is not None and config.client_key_file is not None:
        try:
            context.load_cert_chain(config.client_cert_file, config.client_key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"bus.kafka.client_cert_file {config.client_cert_file}: no PEM certificate that fits client_key_file"
            ) from error
    return context


def no_such_topic(config: KafkaConfig, topic: str) -> Permanent:
    """Return what to say of a topic that is not there: it is never made by the way."""
    return Permanent(f"kafka has no topic {config.topic(topic)}; run `coldaisle doctor --fix`")


def ours(error: Exception, doing: str) -> ColdaisleError:
    """Return what ``error`` of the library means to the caller."""
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, kafka_errors.KafkaError):
        cause = cause.__cause__
    name = type(cause).__name__
    if isinstance(cause, kafka_errors.KafkaConfigurationError):
        return Permanent(f"kafka: {cause}")
    if isinstance(cause, _REFUSED):
        return Permanent(f"kafka refuses {doing}: {name}; grant the user what it needs")
    if isinstance(cause, kafka_errors.FencedInstanceIdError):
        return Permanent(f"kafka refuses {doing}: another process runs under the same bus.kafka.instance; rename one")
    return Transient(f"kafka could not finish {doing}: {name}")
