"""Every setting of the platform, with its unit, its default and what happens at its limit.

A value is looked up in this order: command-line flag, environment variable (`MODELPLEX_` and the
name in capitals), the TOML file (`--config`, else `modelplex.toml` in the data folder), the default
below. The names are the same in all of them. `modelplex up` resolves them once, prints them, and
writes the result to `settings.json` in the data folder, which the processes it starts read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """One resolved configuration. The comment behind each field is its documentation."""

    # -- what a user chooses --------------------------------------------------------------------
    data: Path = field(default_factory=lambda: Path.home() / ".modelplex")
    host: str = "127.0.0.1"
    port: int = 8321
    account: str = "123456789012"
    region: str = "us-west-2"
    access_key: str = ""  # empty: made at first start and kept in credentials.json
    secret_key: str = ""
    s3_endpoint: str = ""  # empty: the embedded store (rclone) over DATA/s3
    s3_access_key: str = ""
    s3_secret_key: str = ""
    s3_region: str = ""  # empty: the platform's region
    memory_mib: int = 0  # for all instances together; 0: three quarters of the machine's memory
    disk_mib: int = 0  # for all instances' artifacts; 0: half of what is free at start
    instance_scale: float = 0.0  # share of an instance type's memory and vCPUs; 0: see sizing.py
    instances_max: int = 20  # more: the endpoint fails with a capacity error
    file_roots: tuple[str, ...] = ()  # folders that file:// model data may lie under
    log_level: str = "info"
    json_logs: bool = False

    # -- limits: a request ----------------------------------------------------------------------
    body_bytes_max: int = 6_291_456  # InvokeEndpoint's documented payload limit; more: 413
    response_bytes_max: int = 6_291_456  # a handler's answer; more: ModelError
    control_body_bytes_max: int = 1 * MIB  # any other AWS call but S3; more: 413
    headers_bytes_max: int = 32 * 1024  # request line and headers; more: 431
    idle_timeout_s: float = 75.0  # a kept-alive connection without a request is closed
    request_read_timeout_s: float = 60.0  # a request that does not arrive whole by then: 408
    clock_skew_s: float = 300.0  # a signature older or younger than this: refused
    connections_max: int = 4096  # per process; more wait in the listen queue

    # -- limits: a model ------------------------------------------------------------------------
    model_ready_timeout_s: float = 60.0  # then ModelNotReadyException; the load goes on
    model_load_timeout_s: float = 360.0  # fetch and load together; then the load fails
    invocation_timeout_s: float = 60.0  # then the worker is killed: ModelError, status 0
    queue_per_model_max: int = 1000  # waiting requests of one model; more: ServiceUnavailable
    queue_max: int = 4000  # waiting requests of one instance; more: ServiceUnavailable
    fetches_max: int = 8  # concurrent downloads of one instance; more wait
    loads_max: int = 0  # concurrent loads of one instance; 0: its vCPUs; more wait
    unload_timeout_s: float = 5.0  # SIGTERM to SIGKILL of a worker
    archive_entries_max: int = 100_000  # files in one archive; more: refused as a bomb
    archive_ratio_max: int = 200  # unpacked bytes per archive byte; more: refused as a bomb
    archive_ratio_floor_bytes: int = 64 * MIB  # unpacked sizes below this are never a bomb
    memory_guess_bytes: int = 32 * MIB  # reserved for the first load of an unknown image
    sample_interval_s: float = 2.0  # between two measurements of the workers' memory
    model_log_lines_max: int = 1000  # per second and model; more are dropped and counted
    log_file_bytes_max: int = 16 * MIB  # then rotated; the last three are kept

    # -- limits: the platform -------------------------------------------------------------------
    startup_timeout_s: float = 240.0  # an instance that never pings by then: endpoint Failed
    waiter_hold_s: float = 50.0  # longest a waiter's DescribeEndpoint is held
    report_interval_s: float = 1.0  # control's question to each instance
    restart_delay_max_s: float = 10.0  # longest pause before a dead process is started again
    stop_timeout_s: float = 30.0  # SIGTERM to SIGKILL of any process, as SageMaker's
