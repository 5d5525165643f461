"""Every setting of the platform, with its unit, its default and what happens at its limit.

A value is looked up in this order: command-line flag, environment variable (`MODELPLEX_` and the
name in capitals), the TOML file (`--config`, else `modelplex.toml` in the data folder), the default
below. The names are the same in all of them. `modelplex up` resolves them once, prints them, and
writes the result to `settings.json` in the data folder, which the processes it starts read.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

MIB = 1024 * 1024
FILE_NAME = "modelplex.toml"
PREFIX = "MODELPLEX_"
GATEWAYS_MAX = 64  # each holds a copy of the fleet and looks after the others' queues
Value = TypeVar("Value")


class SettingsError(ValueError):
    """A value that cannot be used. The text names the place it came from and what to write."""


def setting(default: Value, doc: str, section: str = "") -> Value:
    """A field with its documentation; the first one of a section names that."""
    return field(default=default, metadata={"doc": doc, "section": section})


@dataclass(frozen=True, slots=True)
class Settings:
    """One resolved configuration."""

    data: Path = setting(  # noqa: RUF009 (it is a field)
        Path.home() / ".modelplex", "everything lies here", section="what a user chooses"
    )
    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0: also for other machines")
    port: int = setting(8321, "the one port of every AWS service; 0: any free one")
    gateways: int = setting(0, "processes that share the port; 0: one for every four cores")
    account: str = setting("123456789012", "the AWS account id in every ARN")
    region: str = setting("us-west-2", "the AWS region that clients sign for, and of every ARN")
    access_key: str = setting("", "empty: made at first start and kept in credentials.json")
    secret_key: str = setting("", "as access_key; rather in the environment or the file")
    s3_endpoint: str = setting("", "empty: the embedded store (rclone) over DATA/s3")
    s3_access_key: str = setting("", "for s3_endpoint")
    s3_secret_key: str = setting("", "for s3_endpoint")
    s3_region: str = setting("", "empty: the platform's region")
    container_engine: str = setting(
        "auto", "auto ($DOCKER_HOST, Docker's or Podman's socket), off, or unix:///PATH"
    )
    registry: bool = setting(False, "a registry for container images; needs docker-registry")
    registry_port: int = setting(8322, "the registry's own port, on host; 0: any free one")
    memory_mib: int = setting(0, "for all instances; 0: three quarters of the machine's memory")
    disk_mib: int = setting(0, "for all instances' artifacts; 0: half of what is free at start")
    instance_scale: float = setting(
        0.0, "share of a type's memory and vCPUs; 0: memory_mib / 64 GiB, <= 1"
    )
    instances_max: int = setting(20, "of all endpoints; more: ResourceLimitExceeded")
    model_code: str = setting("allow", "or refuse: of models, code/, pickle and joblib are not run")
    file_roots: tuple[str, ...] = setting((), "folders that file:// model data may lie under")
    unsigned_invocations: bool = setting(
        False, "InvokeEndpoint is answered without a signature too; a wrong one is still refused"
    )
    log_level: str = setting("info", "debug, info, warning or error")
    json_logs: bool = setting(False, "one JSON object per line instead of text")

    body_bytes_max: int = setting(
        6_291_456,
        "InvokeEndpoint's documented payload limit; more: 413",
        section="limits: a request",
    )
    response_bytes_max: int = setting(6_291_456, "a handler's answer; more: ModelError")
    control_body_bytes_max: int = setting(1 * MIB, "any other AWS call but S3; more: 413")
    headers_bytes_max: int = setting(32 * 1024, "request line and headers; more: 431")
    idle_timeout_s: float = setting(75.0, "a kept-alive connection without a request is closed")
    request_read_timeout_s: float = setting(60.0, "a request not whole by then: 408")
    clock_skew_s: float = setting(300.0, "a signature older or younger than this: refused")
    connections_max: int = setting(
        16_384, "per process; more: the longest idle is closed; all busy: they wait to be accepted"
    )
    bodies_mib: int = setting(
        512, "of bodies held at once, per process; more wait up to 10 s: 503; slow ones: 408"
    )

    model_ready_timeout_s: float = setting(
        60.0, "then ModelNotReadyException; the load goes on", section="limits: a model"
    )
    model_load_timeout_s: float = setting(360.0, "fetch and load together; then the load fails")
    invocation_timeout_s: float = setting(60.0, "then the worker is killed: ModelError, status 0")
    queue_per_model_max: int = setting(1000, "waiting for one model; more: ServiceUnavailable")
    queue_max: int = setting(4000, "waiting at one instance; more: ServiceUnavailable")
    queue_wait_max_s: float = setting(30.0, "for a busy worker; beyond, ServiceUnavailable at once")
    fetches_max: int = setting(8, "concurrent downloads of one instance; more wait")
    loads_max: int = setting(0, "concurrent loads of one instance; 0: its vCPUs; more wait")
    patience_s: float = setting(0.05, "behind another model in a shared worker; then one moves")
    eviction_policy: str = setting("adaptive", "who leaves memory and disk first")
    share_identical: bool = setting(True, "byte-identical models: one place on disk and in memory")
    cgroups: str = setting("auto", "memory limits of workers by cgroups where writable; or off")
    answers_max: int = setting(0, "requests at handlers at once; 0: 16 per vCPU, at least 64")
    quarantine_after: int = setting(3, "failures in a row; then a model is refused for a while")
    quarantine_max_s: float = setting(600.0, "longest such pause; the first is a second")
    hot_wait_s: float = setting(2.0, "longest that a load waits rather than evict hotter models")
    unload_timeout_s: float = setting(5.0, "SIGTERM to SIGKILL of a worker")
    archive_entries_max: int = setting(100_000, "files in one archive; more: refused as a bomb")
    archive_ratio_max: int = setting(200, "unpacked bytes per packed byte; more: refused as a bomb")
    archive_ratio_floor_bytes: int = setting(64 * MIB, "unpacked sizes below this are never a bomb")
    memory_guess_bytes: int = setting(32 * MIB, "reserved for the first load of an unknown image")
    sample_interval_s: float = setting(2.0, "between two measurements of the workers' memory")
    refresh_interval_s: float = setting(
        10.0, "between two looks at the store, for models whose rule says refresh"
    )
    model_log_lines_max: int = setting(1000, "per second and model; more are dropped and counted")
    fact_log_mib: int = setting(8, "facts and orders kept per instance, to replay; 0: none")
    log_file_bytes_max: int = setting(16 * MIB, "then rotated; the last three are kept")

    startup_timeout_s: float = setting(
        240.0,
        "an instance that never pings by then: endpoint Failed",
        section="limits: the platform",
    )
    waiter_hold_s: float = setting(50.0, "longest a waiter's DescribeEndpoint is held")
    image_pull_timeout_s: float = setting(600.0, "then the endpoint has failed")
    container_ping_interval_s: float = setting(5.0, "between two pings of a container in service")
    container_ping_timeout_s: float = setting(2.0, "for each; later counts as a bad one")
    container_unhealthy_after: int = setting(6, "bad pings in a row; then it is restarted")
    container_unload_timeout_s: float = setting(360.0, "then the container is restarted")
    ping_interval_s: float = setting(1.0, "between pings of an instance; three unanswered: silent")
    restart_delay_max_s: float = setting(10.0, "longest pause before a dead process starts again")
    stop_timeout_s: float = setting(30.0, "SIGTERM to SIGKILL of any process, as SageMaker's")
    placement_utilisation: float = setting(
        0.7, "of one worker, by a model's requests; more: another copy on another instance"
    )
    placement_imbalance: float = setting(
        0.25, "an instance's load above the mean by more than this share: no further cold model"
    )
    placement_window_s: float = setting(3.0, "how far back the gateway looks for both")
    placement_hold_s: float = setting(30.0, "a copy not needed for so long gets no more requests")
    placement_models_max: int = setting(100_000, "whose whereabouts a gateway keeps, per variant")

    @property
    def bodies_bytes_max(self) -> int:
        """`bodies_mib` in bytes."""
        return self.bodies_mib * MIB

    def as_document(self) -> dict[str, Any]:
        """These settings as JSON can hold them; `from_document` reads them back."""
        return {**asdict(self), "data": str(self.data), "file_roots": list(self.file_roots)}

    def public(self) -> dict[str, Any]:
        """The same without keys: for whoever may know everything else."""
        document = self.as_document()
        return {name: document[name] for name in document if not name.endswith("_key")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], place: str = "settings.json") -> Settings:
        """Settings out of JSON or TOML values; what is missing keeps its default.

        Raises SettingsError for an unknown name, a wrong type or an impossible value.
        """
        return cls().updated(document, lambda name: f"{name} in {place}")

    def updated(self, values: Mapping[str, Any], place: Callable[[str], str]) -> Settings:
        """These settings with `values` set, each checked; `place(name)` names it in errors."""
        changes = {name: _typed(name, value, place(name)) for name, value in values.items()}
        for name, value in changes.items():
            _check(name, value, place(name))
        return replace(self, **changes)


_NAMES = tuple(each.name for each in fields(Settings))
_DEFAULTS = Settings()
_ZERO_ALLOWED = {
    *("memory_mib", "disk_mib", "instance_scale", "loads_max", "port", "answers_max"),  # automatic
    *("registry_port", "gateways"),  # automatic
    *("fact_log_mib", "hot_wait_s"),  # off
}
_PATTERNS = {
    "account": (r"\d{12}", "12 digits"),
    "region": (r"[a-z]{2,}(-[a-z]+)+-\d+", "a region's name such as us-west-2"),
    "cgroups": ("auto|off", "auto or off"),
    "container_engine": ("auto|off|unix://.+", "auto, off or unix:///PATH"),
    "model_code": ("allow|refuse", "allow or refuse"),
    "log_level": ("debug|info|warning|error", "debug, info, warning or error"),
    "access_key": (r"|[\x21-\x2b\x2d-\x7e]{3,128}", "3 to 128 printable characters, no comma"),
    "secret_key": (r"|[\x21-\x2b\x2d-\x7e]{8,256}", "8 to 256 printable characters, no comma"),
    "host": (r"[\w.:%-]+", "a host name or an IP address"),
    "eviction_policy": ("adaptive|lru|gdsf|aging|tinylfu", "adaptive, lru, gdsf, aging or tinylfu"),
}


def resolve(
    flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ, config: Path | None = None
) -> Settings:
    """One configuration out of flags, environment, file and defaults, strongest first.

    `flags` holds the given ones only. Raises SettingsError.
    """
    given = {k: v for k in _NAMES if (v := environ.get(PREFIX + k.upper())) not in (None, "")}
    path = config or _data_folder(flags, given) / FILE_NAME
    settings = _DEFAULTS.updated(_read(path, required=config is not None), _place_in_file(path))
    settings = settings.updated(given, lambda name: PREFIX + name.upper())
    settings = settings.updated(flags, lambda name: "--" + name.replace("_", "-"))
    _check_together(settings)
    roots = tuple(str(Path(root).expanduser().absolute()) for root in settings.file_roots)
    return replace(settings, data=settings.data.expanduser().absolute(), file_roots=roots)


def data_folder(flag: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The data folder alone, for commands that need no more: flag, environment, default."""
    given = {"data": value} if (value := environ.get(PREFIX + "DATA")) else {}
    return _data_folder({"data": flag} if flag else {}, given).absolute()


def load(data: Path) -> Settings:
    """What the running (or last) `up` wrote to its settings.json. Raises SettingsError, OSError."""
    path = data / "settings.json"
    return Settings.from_document(json.loads(path.read_text()), str(path))


def documentation() -> dict[str, tuple[str, str]]:
    """name -> (section, text) of every field, in their order."""
    found: dict[str, tuple[str, str]] = {}
    section = ""
    for each in fields(Settings):
        section = each.metadata["section"] or section
        found[each.name] = (section, each.metadata["doc"])
    return found


def _data_folder(flags: Mapping[str, Any], given: Mapping[str, Any]) -> Path:
    return Path(flags.get("data") or given.get("data") or _DEFAULTS.data).expanduser()


def _place_in_file(path: Path) -> Callable[[str], str]:
    return lambda name: f"{name} in {path}"


def _read(path: Path, required: bool) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise SettingsError(f"The configuration file {path} does not exist.") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from error
    if not required and "data" in document:
        raise SettingsError(f"data in {path}: the file lies in the data folder; use --data.")
    return document


def _typed(name: str, value: Any, place: str) -> Any:
    """`value` (a string from outside, or what TOML and JSON know) as the field's own type."""
    if name not in _NAMES:
        raise SettingsError(f"{place}: there is no such setting.{_nearest(name)}")
    try:
        match getattr(_DEFAULTS, name):
            case bool():
                return _boolean(value)
            case int():
                return _integer(value)
            case float():
                return _number(value)
            case tuple():
                return _strings(value)
            case Path():
                return Path(_string(value)).expanduser()
            case _:
                return _string(value)
    except ValueError as error:
        raise SettingsError(f"{place}: {error}, not {value!r}.") from None


def _boolean(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if (found := words.get(str(value).lower())) is None:
        raise ValueError("must be true or false")
    return found


def _integer(value: Any) -> int:
    if isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("must be a whole number")


def _number(value: Any) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            if math.isfinite(number := float(value)):
                return number
        except ValueError:
            pass
    raise ValueError("must be a number")


def _string(value: Any) -> str:
    if not isinstance(value, str | Path):
        raise ValueError("must be a text")
    return str(value)


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part for part in value.split(os.pathsep) if part)
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def _check(name: str, value: Any, place: str) -> None:
    """Refuse values no part of the platform could live with."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        low = 0 if name in _ZERO_ALLOWED else math.ulp(0)
        if value < low:
            raise SettingsError(
                f"{place}: must be {'at least' if not low else 'above'} 0: {value}."
            )
    if name in ("port", "registry_port") and value > 65535:
        raise SettingsError(f"{place}: a port is at most 65535, not {value}.")
    if name == "gateways" and value > GATEWAYS_MAX:
        raise SettingsError(f"{place}: at most {GATEWAYS_MAX} gateways, not {value}.")
    if name in _PATTERNS and not re.fullmatch(_PATTERNS[name][0], value):
        shown = "the given value" if name == "secret_key" else repr(value)
        raise SettingsError(f"{place}: must be {_PATTERNS[name][1]}, not {shown}.")
    if name == "s3_endpoint" and value and not _is_url(value):
        raise SettingsError(f"{place}: must be http://HOST[:PORT] or https://…, not {value!r}.")


def _check_together(settings: Settings) -> None:
    for one, other in (("access_key", "secret_key"), ("s3_access_key", "s3_secret_key")):
        if bool(getattr(settings, one)) != bool(getattr(settings, other)):
            raise SettingsError(f"{one} and {other} belong together: give both or neither.")
    if settings.registry and settings.registry_port == settings.port != 0:
        raise SettingsError(f"port and registry_port are both {settings.port}: give each its own.")
    if settings.s3_endpoint and not settings.s3_access_key:
        raise SettingsError("s3_endpoint needs s3_access_key and s3_secret_key.")


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _NAMES, n=1)
    return f" Did you mean {near[0]}?" if near else ""
