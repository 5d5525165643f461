"""What models' `requirements.txt` ask for: virtual environments, built once per content and shared.

An environment sees the packages of the Python it is made for, and its own come before them. Its
name is a hash of what decides its content: the requirements file, that Python's version and place,
and what is installed there. Where the file refers to other files beside it (wheels, `-r`, `-c`),
all files of its folder are hashed too. Not hashed are PIP_* variables, what lies outside of that
folder, and what an index has to offer: a file that pins no versions keeps those it got first.

    obtain -> complete? -> used (until release)
              else one build, for all who wait: venv -> packages of the base -> pip -> `complete`
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import importlib.util
import itertools
import json
import logging
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelplex.workers.codeartifact import index_url
from modelplex.workers.command import OnLine, run
from modelplex.workers.errors import LoadFailed

log = logging.getLogger(__name__)

_COMPLETE = "complete"  # written last; its time of change is when the environment was last used
# Without a check for conflicts: it takes seconds, and overriding what the base has is the point.
_PIP_FLAGS = (
    "--no-input",
    "--disable-pip-version-check",
    "--no-warn-conflicts",
    "--progress-bar=off",
)
_NOTHING: Mapping[str, str] = MappingProxyType({})
_PROBE = """
import hashlib, importlib.metadata, json, sys
places = [place for place in sys.path if place.endswith("-packages")]
found = {"%s==%s" % (d.metadata["Name"], d.version) for d in importlib.metadata.distributions()}
what = json.dumps([sys.version, sys.prefix, places, sorted(found)])
print(json.dumps({"identity": hashlib.sha256(what.encode()).hexdigest(), "places": places}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment that is ready. `key` names its content."""

    key: str
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


@dataclass(frozen=True, slots=True)
class _Base:
    """The Python that environments are made for: a hash of it, and where its packages lie."""

    identity: str
    places: tuple[str, ...]


class Environments:
    """The environments in `folder`, which no other process may use, for models run by `python`.

    pip sees this process's variables, and `variables`, such as PIP_INDEX_URL, in front of them.
    Beyond `kept_max`, those that were not used for longest and are not used now are removed when
    the next one is built.
    """

    def __init__(
        self,
        folder: Path,
        python: Path,
        variables: Mapping[str, str] = _NOTHING,
        *,
        build_timeout_s: float = 1800.0,
        builds_max: int = 2,
        kept_max: int = 32,
    ) -> None:
        self._folder = folder
        self._python = python
        self._variables = variables
        self._build_timeout_s = build_timeout_s
        self._kept_max = kept_max
        self._turns = asyncio.Semaphore(builds_max)
        self._opening: asyncio.Task[_Base] | None = None
        self._builds: dict[str, tuple[asyncio.Task[None], Path]] = {}
        self._users: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._lock: int | None = None

    async def obtain(self, requirements: Path, on_line: OnLine) -> Environment:
        """The environment for a requirements file, built if need be; `on_line` gets pip's output.

        It stays until `release`. A build goes on when its caller is cancelled: the next one finds
        it. Raises LoadFailed with the end of what pip said.
        """
        base = await self._open()
        key = await asyncio.to_thread(_key, base, requirements)
        environment = Environment(key, self._folder / key)
        self._users[key] += 1
        try:
            await self._complete(base, environment, requirements, on_line)
        except BaseException:
            self.release(environment)
            raise
        return environment

    def release(self, environment: Environment) -> None:
        """The caller does not need it any more. Once per `obtain`."""
        self._users[environment.key] -= 1
        if not self._users[environment.key]:
            del self._users[environment.key]

    async def close(self) -> None:
        """Ends builds that are under way, and lets another process have the folder."""
        tasks: list[asyncio.Task[None]] = [task for task, _ in self._builds.values()]
        opening = [self._opening] if self._opening is not None else []
        for task in (*tasks, *opening):
            task.cancel()
        await asyncio.gather(*tasks, *opening, return_exceptions=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _open(self) -> _Base:
        """Takes the folder and looks at the base, once; again where that failed."""
        if self._opening is None or (self._opening.done() and _failure(self._opening)):
            self._opening = asyncio.create_task(self._look())
        await asyncio.wait([self._opening])
        if (failure := _failure(self._opening)) is not None:
            raise failure
        return self._opening.result()

    async def _look(self) -> _Base:
        if self._lock is None:
            taking = asyncio.create_task(asyncio.to_thread(_take, self._folder))
            try:
                await asyncio.wait([taking])
            finally:  # when cancelled too: the thread goes on, and `close` must see what it took
                self._lock = await taking
        argv = [str(self._python), "-I", "-c", _PROBE]
        lines = await run(argv, self._folder, f"asking {self._python} for its packages")
        try:
            found = json.loads(lines[-1])
            return _Base(found["identity"], tuple(found["places"]))
        except (LookupError, ValueError, TypeError) as error:
            said = "\n".join(lines)
            raise LoadFailed(f"{self._python} does not tell its packages: {said}") from error

    async def _complete(
        self, base: _Base, environment: Environment, requirements: Path, on_line: OnLine
    ) -> None:
        key = environment.key
        while not _touch(environment):
            mine = key not in self._builds
            if mine:
                work = self._build(base, environment, requirements, on_line)
                self._builds[key] = (asyncio.create_task(work), requirements)
                self._builds[key][0].add_done_callback(functools.partial(self._built, key))
            task, source = self._builds[key]
            await asyncio.wait([task])
            failure = _failure(task)
            # Where the other one's file is gone its model has left: build from this one's.
            if failure is not None and (mine or source.exists()):
                raise failure

    def _built(self, key: str, task: asyncio.Task[None]) -> None:
        del self._builds[key]
        if (failure := _failure(task)) is not None:
            log.warning("environment.failed", extra={"key": key, "error": str(failure)})

    async def _build(
        self, base: _Base, environment: Environment, requirements: Path, on_line: OnLine
    ) -> None:
        limit = self._build_timeout_s
        async with self._turns:
            try:
                await asyncio.to_thread(_remove, *self._put_aside())
                async with asyncio.timeout(limit):
                    await self._fill(base, environment, requirements, on_line)
            except TimeoutError:
                raise LoadFailed(f"{requirements.name} not installed within {limit:g} s") from None
            finally:
                if not (environment.folder / _COMPLETE).exists():
                    await asyncio.to_thread(_remove, environment.folder)

    async def _fill(
        self, base: _Base, environment: Environment, requirements: Path, on_line: OnLine
    ) -> None:
        folder, code = environment.folder, requirements.parent
        venv = [str(self._python), "-I", "-m", "venv", "--without-pip", str(folder)]
        await run(venv, self._folder, "making an environment")
        _show(base.places, folder)
        pip = [self._pip(), "-m", "pip", "--python", str(environment.python), "install"]
        argv = [*pip, *_PIP_FLAGS, "-r", requirements.name]
        variables = {**self._variables, **await self._index()}
        await run(argv, code, f"installing the model's {requirements.name}", on_line, variables)
        (folder / _COMPLETE).touch()
        log.info("environment.built", extra={"key": environment.key})

    def _pip(self) -> str:
        """Whose pip installs: this process's, or else that of the base."""
        return sys.executable if importlib.util.find_spec("pip") else str(self._python)

    async def _index(self) -> dict[str, str]:
        """The variable that names pip's index, where it has to be found out."""
        arn = self._variables.get("CA_REPOSITORY_ARN") or os.environ.get("CA_REPOSITORY_ARN")
        return {"PIP_INDEX_URL": await asyncio.to_thread(index_url, arn)} if arn else {}

    def _put_aside(self) -> list[Path]:
        """Takes away what is too many, with one place for the environment to be built. Where it is
        now can be removed at leisure."""
        markers = self._folder.glob(f"*/{_COMPLETE}")
        oldest = sorted(markers, key=lambda marker: marker.stat().st_mtime)
        unused = [marker for marker in oldest if marker.parent.name not in self._users]
        aside = []
        for marker in unused[: max(0, len(oldest) + 1 - self._kept_max)]:
            marker.unlink()
            aside.append(marker.parent.rename(self._folder / f"old{next(self._numbers)}"))
            log.info("environment.removed", extra={"key": marker.parent.name})
        return aside


def _failure(task: asyncio.Task[Any]) -> BaseException | None:
    """What to raise in place of a finished task's result."""
    if task.cancelled():
        return LoadFailed("no more environments are made: this process is being stopped", 503)
    return task.exception()


def _touch(environment: Environment) -> bool:
    """Whether it is there; from now on it is the one used last."""
    try:
        os.utime(environment.folder / _COMPLETE)
    except OSError:
        return False
    return True


def _take(folder: Path) -> int:
    """Locks the folder for this process and removes what was never finished there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LoadFailed(f"cannot use {folder} for environments: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise LoadFailed(f"another process uses {folder}: give each its own folder") from None
    folders = (entry for entry in folder.iterdir() if entry.is_dir())
    _remove(*(entry for entry in folders if not (entry / _COMPLETE).exists()))
    return lock


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _key(base: _Base, requirements: Path) -> str:
    """Raises LoadFailed where a file cannot be read."""
    try:
        content = requirements.read_bytes()
        digest = hashlib.sha256(base.identity.encode() + content)
        if _refers_to_files(content.decode("utf-8", "replace"), requirements.parent):
            _hash_folder(digest, requirements.parent)
    except OSError as error:
        raise LoadFailed(f"cannot read the model's {requirements.name}: {error}") from error
    return digest.hexdigest()[:32]


def _refers_to_files(text: str, folder: Path) -> bool:
    """Whether any word of the file is a file or folder beside it. Once too often does no harm."""
    words = {word.removeprefix("file://") for word in re.split(r"[\s=@]+", text)} - {""}
    return any(os.path.exists(folder / word) for word in words)


def _hash_folder(digest: hashlib._Hash, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
            digest.update(content)


def _show(places: tuple[str, ...], env: Path) -> None:
    """Puts the base's packages behind the environment's own.

    Not with `--system-site-packages`: where the base is a virtual environment that shows those of
    the Python beneath it.
    """
    lines = [f"import site; site.addsitedir({place!r})\n" for place in places]
    for packages in (env / "lib").glob("python*/site-packages"):
        (packages / "_base.pth").write_text("".join(lines), "utf-8")
