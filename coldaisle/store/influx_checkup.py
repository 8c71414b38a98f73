"""Looks at an InfluxDB: version, clock, token, buckets, retention and tasks; and sets up what it may."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from influxdb_client import BucketRetentionRules, PingService, TaskCreateRequest, TaskUpdateRequest

from coldaisle.checkup import Finding
from coldaisle.clock import DAY, SECOND, Clock
from coldaisle.errors import ColdaisleError, ConfigError
from coldaisle.store.influx_server import InfluxServer
from coldaisle.store.influx_settings import InfluxConfig
from coldaisle.store.influx_tiers import task_flux, task_name, tiers_of

_PART = "influxdb"
_DAY_SECONDS = DAY // SECOND
_CLOCK_SECONDS = 3.0
"""The server tells whole seconds, and the answer takes a while; above this much the clocks differ."""


def check(config: InfluxConfig, clock: Clock) -> list[Finding]:
    """Return what was found, without side effects. Never raises: what cannot be looked at is a finding."""
    server = InfluxServer(config, clock)
    try:
        return _Checkup(server, clock).findings()
    except ColdaisleError as error:
        return [Finding(_PART, "error", str(error), "start InfluxDB 2.7 there, or correct url, org and token")]
    finally:
        server.close()


def fix(config: InfluxConfig, clock: Clock) -> list[Finding]:
    """Make buckets, retention and tasks as configured; return what was done and how it stands then. Never raises."""
    server = InfluxServer(config, clock)
    try:
        done = _Checkup(server, clock).mend()
    except ColdaisleError as error:
        done = [Finding(_PART, "error", f"could not be mended: {error}", "a token of the organisation's owner may")]
    finally:
        server.close()
    return done + check(config, clock)


class _Checkup:
    def __init__(self, server: InfluxServer, clock: Clock) -> None:
        self._server, self._config, self._clock = server, server.config, clock
        self._tiers = tiers_of(server.config)
        events = (self._config.event_bucket, self._config.event_days)
        self._wanted = dict([*((tier.bucket, tier.keep_days) for tier in self._tiers), events])

    def findings(self) -> list[Finding]:
        found = [*self._alive()]
        buckets = self._buckets()
        for name, days in self._wanted.items():
            found += self._bucket(name, days, buckets.get(name))
        return found + [self._task(tier_name, flux, have) for tier_name, flux, have in self._tasks()]

    def mend(self) -> list[Finding]:
        done: list[Finding] = []
        buckets = self._server.client.buckets_api()
        have = self._buckets()
        for name, days in self._wanted.items():
            part, rules = f"{_PART} bucket {name}", _rules(days)
            bucket = have.get(name)
            if bucket is None:
                self._call(buckets.create_bucket, bucket_name=name, retention_rules=rules, org=self._config.org)
                done.append(Finding(part, "ok", f"made; keeps {_kept(days)}"))
            elif _days(bucket) != days:
                bucket.retention_rules = rules
                self._call(buckets.update_bucket, bucket)
                done.append(Finding(part, "ok", f"keeps {_kept(days)} from now on"))
        tasks = self._server.client.tasks_api()
        for name, flux, task in self._tasks():
            part = f"{_PART} task {name}"
            if task is None:
                request = TaskCreateRequest(flux=flux, org=self._config.org, status="active")
                self._call(tasks.create_task, task_create_request=request)
                done.append(Finding(part, "ok", "made"))
            elif task.flux.strip() != flux.strip() or task.status != "active":
                request = TaskUpdateRequest(flux=flux, status="active")
                self._call(tasks.update_task_request, task.id, request)
                done.append(Finding(part, "ok", "written anew and started"))
        return done

    def _alive(self) -> list[Finding]:
        url = self._config.url
        ping = PingService(self._server.client.api_client)
        _, _, headers = self._call(ping.get_ping_with_http_info, _return_http_data_only=False)
        version = str(headers.get("X-Influxdb-Version", "")).removeprefix("v")
        found = [Finding(_PART, "ok", f"InfluxDB {version or 'of unknown version'} answers at {url}")]
        # A build without a version calls itself "dev".
        if version[:1].isdigit() and not version.startswith("2."):
            text = f"{url} is InfluxDB {version}, which has no Flux or another one; 2.7 is needed"
            found = [Finding(_PART, "error", text, "point url to an InfluxDB 2")]
        elif version.startswith("2.") and tuple(map(int, version.split("-")[0].split(".")[:2])) < (2, 7):
            found = [Finding(_PART, "warning", f"InfluxDB {version} is older than 2.7", "upgrade it to 2.7")]
        try:
            ahead = parsedate_to_datetime(str(headers.get("Date"))).timestamp() - self._clock.now() / SECOND
        except ValueError:
            return found
        if abs(ahead) > _CLOCK_SECONDS:
            way = "ahead of" if ahead > 0 else "behind"
            text = f"its clock is {abs(ahead):.0f} s {way} this machine's; windows and retention will be off by that"
            found.append(Finding(f"{_PART} clock", "warning", text, "run NTP on both"))
        return found

    def _buckets(self) -> dict[str, Any]:
        api = self._server.client.buckets_api()
        found: dict[str, Any] = {}
        for name in self._wanted:
            try:
                several = self._call(api.find_buckets, name=name, org=self._config.org).buckets
            except ConfigError as error:
                if "not found" not in str(error) or "organization" in str(error):
                    raise
                several = []
            if several:
                found[name] = several[0]
        return found

    def _bucket(self, name: str, days: int, bucket: Any) -> list[Finding]:
        part = f"{_PART} bucket {name}"
        if bucket is None:
            remedy = "run `coldaisle doctor --fix`; if it is there, let the token read it"
            return [Finding(part, "error", "is not there, or the token may not see it", remedy, True)]
        found: list[Finding] = []
        if _days(bucket) != days:
            text = f"keeps {_kept(_days(bucket))}; the configuration says {_kept(days)}"
            remedy = "run `coldaisle doctor --fix`, or change the configuration"
            found.append(Finding(part, "warning", text, remedy, True))
        try:
            self._server.write(name, b"", zipped=False)  # nothing is written; permission is asked for all the same
        except ConfigError as error:
            remedy = f"give the token write permission for bucket {name}; a role that only reads can do without"
            found.append(Finding(part, "warning", str(error), remedy))
        try:
            self._server.query(f'from(bucket: "{name}") |> range(start: -1s) |> limit(n: 1)', name)
        except ConfigError as error:
            found.append(Finding(part, "error", str(error), f"give the token read permission for bucket {name}"))
        return found or [Finding(part, "ok", f"can be read and written; keeps {_kept(days)}")]

    def _tasks(self) -> list[tuple[str, str, Any]]:
        """Return name, wanted Flux and what is there of each task."""
        api = self._server.client.tasks_api()
        found: list[tuple[str, str, Any]] = []
        for tier in self._tiers[1:]:
            name = task_name(tier)
            have = self._call(api.find_tasks, name=name, org=self._config.org)
            found.append((name, task_flux(self._tiers, tier), have[0] if have else None))
        return found

    def _task(self, name: str, flux: str, task: Any) -> Finding:
        part = f"{_PART} task {name}"
        mend = "run `coldaisle doctor --fix`"
        if task is None:
            text = "is not there, or the token may not see it: nothing will be left when samples expire"
            return Finding(part, "error", text, mend, True)
        if task.status != "active":
            return Finding(part, "error", f"is {task.status}", mend, True)
        if task.flux.strip() != flux.strip():
            return Finding(part, "warning", "differs from what this version would write", mend, True)
        if task.last_run_status == "failed":
            said = " ".join(str(task.last_run_error).split())[:200]
            return Finding(part, "warning", f"its last run failed: {said}", "look at the runs of the task in InfluxDB")
        latest = f"; last run for {task.latest_completed}" if task.latest_completed else ""
        return Finding(part, "ok", f"is active{latest}")

    def _call(self, ask: Any, *given: Any, **named: Any) -> Any:
        return self._server.call(lambda: ask(*given, **named), "bucket or task")


def _rules(days: int) -> list[Any]:
    # Not an empty list: an update with none would leave the old rule.
    return [BucketRetentionRules(type="expire", every_seconds=days * _DAY_SECONDS)]


def _days(bucket: Any) -> float:
    seconds = sum(int(rule.every_seconds or 0) for rule in bucket.retention_rules or [])
    return seconds / _DAY_SECONDS


def _kept(days: float) -> str:
    return f"{days:g} days" if days else "everything"
