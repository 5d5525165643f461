"""`multi-model-server`: Multi Model Server's launcher, for our server.

--start leaves a server in the background and returns when it listens. Its process id lies in
Multi Model Server's pid file, and its command line has the word by which SageMaker's inference
toolkit looks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import modelplex
from modelplex.server.config import Config, ConfigError
from modelplex.server.start.resolve import Arguments, resolve

NAMESPACE = "com.amazonaws.ml.mms.ModelServer"  # an argument of every server process
START_TIMEOUT_S = 120.0  # for listening; models are loaded afterwards
STOP_TIMEOUT_S = 35.0  # SIGTERM to SIGKILL; the server itself wants less than 30
_POLL_S = 0.02
_LISTENS = "0A"  # /proc/net/tcp's state
_REMOTE = re.compile(r"(https?|s3|file)://.+", re.IGNORECASE)


class LaunchError(Exception):
    """Why nothing was started or stopped."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0, or 1 with a line on stderr that says why."""
    parser = argparse.ArgumentParser(
        prog="multi-model-server", description="modelplex in Multi Model Server's place."
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--start", action="store_true", help="start the server (the default)")
    action.add_argument("--stop", action="store_true", help="stop the server")
    parser.add_argument("--foreground", action="store_true", help="do not go to the background")
    parser.add_argument("--version", action="version", version=f"modelplex {modelplex.__version__}")
    add_options(parser)
    options = parser.parse_args(argv)
    try:
        with _pid_file() as file:
            if options.stop:
                _stop(file)
            else:
                _start(file, arguments(options), options.foreground)
    except (LaunchError, ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that launcher and server process have in common."""
    parser.add_argument(
        "--mms-config", metavar="FILE", help="properties; else ./config.properties if it is there"
    )
    parser.add_argument("--model-store", metavar="FOLDER", help="what models are relative to")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="[NAME=]URL", help="models to load at start"
    )
    parser.add_argument("--log-config", metavar="FILE", help="a log4j2.xml")


def arguments(options: argparse.Namespace) -> Arguments:
    """Parsed options as what `resolve` takes. Raises ConfigError for a place that is not there."""
    for name, exists in (
        ("mms_config", lambda text: text == "sagemaker" or os.path.isfile(text)),
        ("log_config", os.path.isfile),
        ("model_store", os.path.isdir),
    ):
        text = getattr(options, name)
        if text and not exists(text):
            what = "directory" if name == "model_store" else "file"
            raise ConfigError(f"--{name.replace('_', '-')} {what} not found: {text}")
    return Arguments(
        options.mms_config, options.model_store, tuple(options.models), options.log_config
    )


def command(arguments: Arguments) -> list[str]:
    """The command line of a server process."""
    words = [sys.executable, "-m", "modelplex.server", NAMESPACE]
    for option, text in (
        ("--mms-config", arguments.config_file),
        ("--model-store", arguments.model_store),
        ("--log-config", arguments.log_config),
    ):
        words += [option, text] if text else []
    return [*words, "--models", *arguments.models] if arguments.models else words


# -- starting ----------------------------------------------------------------------------------


def _start(file: int, arguments: Arguments, foreground: bool) -> None:
    if (pid := _read(file)) is not None:
        if _is_server(pid):
            raise LaunchError(
                "Model server is already running, please use multi-model-server --stop to stop it."
            )
        print("Removing orphan pid file.")
    config = resolve(arguments)
    _check_models(config)
    words = command(arguments)
    if foreground:
        _write(file, os.getpid())
        os.execv(words[0], words)
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    _write(file, process.pid)
    try:
        _wait_until_it_listens(process, len({config.inference_address, config.management_address}))
    except BaseException:
        _write(file, None)
        raise


def _check_models(config: Config) -> None:
    """Local models need a store, as with Multi Model Server."""
    local = [url for _, url in config.models if url != "ALL" and not _REMOTE.fullmatch(url)]
    if local and config.model_store is None:
        raise ConfigError(f"--model-store is required to load a model locally: {local[0]}")


def _wait_until_it_listens(process: subprocess.Popen[bytes], sockets: int) -> None:
    """Returns when the process has so many listening sockets. Raises LaunchError; then it ends."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while _listening(process.pid) < sockets:
        if process.poll() is not None:
            raise LaunchError(f"Model server did not start: exit status {process.returncode}.")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise LaunchError(f"Model server did not listen within {START_TIMEOUT_S:g} s.")
        time.sleep(_POLL_S)


def _listening(pid: int) -> int:
    """How many listening sockets a process has; 0 if it is gone."""
    inodes = set()
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                inodes.add(os.readlink(descriptor.path).removeprefix("socket:[").rstrip("]"))
    return len(inodes & _listening_inodes())


def _listening_inodes() -> set[str]:
    """The inodes of all sockets of this network that listen."""
    found = set()
    for table, state, inode, listens in (
        ("tcp", 3, 9, _LISTENS),
        ("tcp6", 3, 9, _LISTENS),
        ("unix", 3, 6, "00010000"),
    ):
        with contextlib.suppress(OSError):  # without IPv6
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[state] == listens:
                    found.add(words[inode])
    return found


# -- stopping ----------------------------------------------------------------------------------


def _stop(file: int) -> None:
    pid = _read(file)
    if pid is None:
        print("Model server is not currently running.")
    elif not _is_server(pid):
        print("Model server already stopped.")
    else:
        _end(pid)
        print("Model server stopped.")
    _write(file, None)


def _end(pid: int) -> None:
    """SIGTERM, and SIGKILL for who ignores it; returns when the process is gone."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    os.kill(pid, signal.SIGTERM)
    while _is_server(pid):
        if time.monotonic() > deadline:
            print(f"Model server did not end within {STOP_TIMEOUT_S:g} s: killed.", file=sys.stderr)
            os.kill(pid, signal.SIGKILL)
            deadline += STOP_TIMEOUT_S
        time.sleep(_POLL_S)


# -- the pid file ------------------------------------------------------------------------------


@contextlib.contextmanager
def _pid_file() -> Iterator[int]:
    """The pid file, locked: of two who start at once the second finds the first one's server.

    An empty one is removed in the end: Multi Model Server's own launcher cannot read it.
    """
    path = Path(tempfile.gettempdir(), ".model_server.pid")
    try:
        file = _lock(path)
    except OSError as error:
        raise LaunchError(f"The pid file cannot be used: {error}.") from None
    try:
        yield file
    finally:
        if _read(file) is None:
            path.unlink(missing_ok=True)
        os.close(file)


def _lock(path: Path) -> int:
    """The file, opened and locked; not one that was removed while the lock was waited for."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.lstat()):
                return file
        os.close(file)


def _read(file: int) -> int | None:
    """The process id in the file; None if there is none."""
    text = os.pread(file, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() and int(text) else None


def _write(file: int, pid: int | None) -> None:
    """Empties the file, or leaves a process id in it."""
    os.ftruncate(file, 0)
    if pid is not None:
        os.pwrite(file, str(pid).encode(), 0)


def _is_server(pid: int) -> bool:
    """Whether the process lives and is a model server: ids are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return NAMESPACE.encode() in words  # a zombie has no words
