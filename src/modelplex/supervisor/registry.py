"""The store behind the registry's door: Debian's docker-registry, on a Unix socket, as a process.

The distribution project's registry has no users of its own here: who may come in is decided by
`modelplex.registry`, and the socket lies in the data folder, which only its owner can enter.
"""

from __future__ import annotations

import hmac
import shutil
from pathlib import Path
from typing import Any

from modelplex.settings import Settings
from modelplex.supervisor.folder import write_private
from modelplex.supervisor.spec import Spec

BINARY = "docker-registry"
_CONFIG = "registry.json"  # YAML, of which JSON is a part
_SOCKET = "registry.sock"
# The registry does not remove the socket of a predecessor that was killed.
_START = f'rm -f {_SOCKET} && exec "$0" serve {_CONFIG}'


def store(settings: Settings) -> Spec | None:
    """How to run it, its configuration written; None where it is not installed."""
    binary = shutil.which(BINARY)
    if binary is None:
        return None
    run = settings.data / "run"
    write_private(run / _CONFIG, configuration(settings))
    argv = ("/bin/sh", "-c", _START, binary)
    return Spec(argv, cwd=str(run), log=str(log_file(settings)), restart=True)


def log_file(settings: Settings) -> Path:
    """Its log: a file of its own, since every layer that is not there yet is an error to it."""
    return settings.data / "logs" / "registry-store.log"


def configuration(settings: Settings) -> dict[str, Any]:
    """The store's own configuration.

    The socket's path is relative, since an absolute one may be longer than an address can be.
    The secret marks unfinished uploads, so that they outlive a restart.
    """
    secret = hmac.digest(settings.secret_key.encode(), b"modelplex registry's uploads", "sha256")
    return {
        "version": 0.1,
        "log": {
            "level": "warn",
            "formatter": "json" if settings.json_logs else "text",
            "accesslog": {"disabled": True},
        },
        "storage": {
            "filesystem": {"rootdirectory": str(settings.data / "registry")},
            "delete": {"enabled": True},
        },
        "http": {
            "net": "unix",
            "addr": _SOCKET,
            "relativeurls": True,
            "secret": secret.hex(),
        },
    }
