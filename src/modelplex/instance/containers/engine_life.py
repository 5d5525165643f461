"""One life of a container of an engine. Everything here blocks: it is called in threads."""

from __future__ import annotations

import http.client
import logging
import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelplex.engine import EngineError, Found, NoEngine, container, endings, leftovers, memory
from modelplex.engine.client import connected, explanation
from modelplex.engine.endings import Ending
from modelplex.engine.output import follow
from modelplex.instance.containers.engine_supply import CALL_S, Supply
from modelplex.instance.containers.runner import MODEL_PATH, MODELS_PATH, Surroundings
from modelplex.workers.cgroups import Cgroup

log = logging.getLogger(__name__)

MEASURE_S = 2.0  # for the engine's statistics
LOST_S, LOST_POLL_S = 20.0, 1.0  # an engine silent for so long has lost its containers
TAIL_LINES, TAIL_TEXT_MAX = 5, 500  # of a container that ended at once
_GONE = Ending("it was removed by somebody else", out_of_memory=False)


@dataclass(frozen=True, slots=True)
class Platform:
    """The process that this one belongs to; containers do not outlive it."""

    pid: int
    pidfd: int

    @classmethod
    def of_this_process(cls) -> Platform:
        """To be called while it is certainly alive."""
        return cls(os.getppid(), os.pidfd_open(os.getppid()))

    @property
    def alive(self) -> bool:
        return os.getppid() == self.pid


class EngineLife:
    """From the image to the removed container. `unwanted` is set once it is to end."""

    def __init__(
        self,
        supply: Supply,
        platform: Platform,
        surroundings: Surroundings,
        on_line: Callable[[str], None],
    ) -> None:
        """`on_line` hears what the container prints, and how its image comes."""
        self.unwanted = threading.Event()
        self.id = ""
        self.pid: int | None = None
        self._image = supply.image
        self._supply = supply
        self._platform = platform
        self._surroundings = surroundings
        self._on_line = on_line
        self._watch: leftovers.Watch | None = None
        self._cgroup: Cgroup | None = None
        self._quiet = False  # a kill for lack of memory looks like any other
        self._hint = ""  # what may have been wrong with the image

    def start(self) -> str:
        """Run the container; its address. Raises EngineError. `remove` comes last in any case."""
        try:
            return self._start()
        except EngineError:
            if self.unwanted.is_set():  # `remove` may have been too early
                self.remove(started=True)
            raise

    def _start(self) -> str:
        found = self._supply.get(self._on_line, self.unwanted)
        self._check_wanted()
        self._sweep()
        instance, engine = self._surroundings.instance, self._image.engine
        self._watch = leftovers.Watch(engine, instance, self._platform.pidfd)
        with connected(engine, CALL_S) as client:
            self._quiet = container.is_podman(client)
            self._run(client, found)
            self._check_wanted()
            document = client.inspect_container(self.id)
            if not document["State"]["Running"]:
                raise EngineError(self._ended_at_once(client, document["State"]))
            self._note_process(int(document["State"]["Pid"]))
            return container.address(document)

    def read_output(self) -> None:
        """Hand over lines until there are no more."""
        try:
            with connected(self._image.engine, CALL_S) as client:
                follow(client.logs(self.id, stream=True, follow=True), self._on_line)
        except EngineError as error:
            log.warning("container.output_lost", extra={"reason": str(error)})

    def end(self) -> Ending:
        """Returns when the container has ended, or has been lost with its engine."""
        if self._quiet:
            self._quiet = self._was_perhaps_starved()
        lost_for_s = 0.0
        while True:
            try:
                return self._wait()
            except NoEngine as error:
                lost_for_s += LOST_POLL_S
                if lost_for_s > LOST_S or self.unwanted.wait(LOST_POLL_S):
                    return Ending(f"lost: {error}", out_of_memory=False)
            except EngineError as error:
                return Ending(f"lost: {error}", out_of_memory=False)

    def memory_bytes(self) -> int:
        """As the kernel counts; as the engine does, where that cannot be read here."""
        if self._cgroup is not None and (held := self._cgroup.held_bytes()):
            return held
        try:
            with connected(self._image.engine, MEASURE_S) as client:
                return memory.used_bytes(client.stats(self.id, stream=False, one_shot=True))
        except EngineError:
            return 0

    def terminate(self) -> None:
        """SIGTERM; nothing if it has ended by itself."""
        try:
            with connected(self._image.engine, CALL_S) as client:
                client.kill(self.id, signal="SIGTERM")
        except EngineError as error:
            log.info("container.not_terminated", extra={"reason": str(error)})

    def remove(self, *, started: bool) -> None:
        """Remove the container, running or not. `started`: no start is under way; otherwise, and
        if the engine fails, the watch does it, which looks several times."""
        if (watch := self._watch) is None:
            return
        self._watch, removed = None, False
        try:
            self._sweep()
            removed = started
        except EngineError as error:
            log.warning("container.not_removed", extra={"reason": str(error)})
        watch.close(removed=removed)

    def _run(self, client: Any, found: Found) -> None:
        """Raises EngineError for an image that cannot be run."""
        from docker.errors import APIError  # noqa: PLC0415 (an extra)

        version = client.version()
        platform = f"{version.get('Os', '')}/{version.get('Arch', '')}"
        self._hint = endings.platform_hint(found.platform, platform)
        try:
            self.id = container.create(client, self._plan(found))
            client.start(self.id)
        except APIError as error:
            said = endings.refusal(self._image.name, explanation(error), self._hint)
            raise EngineError(said) from error

    def _plan(self, found: Found) -> container.Plan:
        own = self._surroundings
        if own.model is None:
            own.models.mkdir(parents=True, exist_ok=True)
            mounts = {str(MODELS_PATH): own.models}
        else:
            mounts = {str(MODEL_PATH): own.model}
        return container.Plan(
            instance=own.instance,
            image=found.id,
            environment=own.environment,
            mounts=mounts,
            memory_bytes=own.memory_bytes,
            vcpus=own.vcpus,
            isolated=self._image.isolated,
        )

    def _check_wanted(self) -> None:
        """Raises EngineError once nobody would end a container that is started now."""
        if self.unwanted.is_set() or not self._platform.alive:
            raise EngineError("The container was given up before it had started.")

    def _ended_at_once(self, client: Any, state: dict[str, Any]) -> str:
        end = endings.read(state, quiet=self._quiet, killed_by_us=False, hint=self._hint)
        printed: list[str] = []
        follow(iter([client.logs(self.id, stream=False, tail=TAIL_LINES)]), printed.append)
        for line in printed:
            self._on_line(line)
        last = " | ".join(printed)[-TAIL_TEXT_MAX:]
        said = f'Its last words: "{last}".' if last else "It printed nothing."
        return f"The container of image {self._image.name} ended at once ({end.text}). {said}"

    def _note_process(self, pid: int) -> None:
        """The container's first process, if the number means it here too."""
        if folder := memory.cgroup(pid, self.id):
            self.pid, self._cgroup = pid, Cgroup(folder)

    def _wait(self) -> Ending:
        """Raises EngineError, NoEngine when the engine goes away meanwhile."""
        from docker.errors import NotFound  # noqa: PLC0415 (an extra)

        state: dict[str, Any] | None = None
        with connected(self._image.engine, CALL_S) as client:
            try:
                state = {"ExitCode": client.wait(self.id, timeout=None)["StatusCode"]}
                state = client.inspect_container(self.id)["State"]
            except NotFound:
                if state is None:  # else we may have removed it ourselves, between the two
                    return _GONE
        ours = self.unwanted.is_set()
        return endings.read(state, quiet=self._quiet, killed_by_us=ours, hint=self._hint)

    def _was_perhaps_starved(self) -> bool:
        """Waits for the end of its first process, and asks the kernel whether it has killed in the
        moment before the engine removes the cgroup; True also when that was too late."""
        if self._cgroup is None or self.pid is None:
            return True
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        select.select([pidfd], [], [])
        os.close(pidfd)
        kills = self._cgroup.kills()
        return kills > 0 or not self._cgroup.folder.exists()

    def _sweep(self) -> None:
        """Raises EngineError."""
        try:
            leftovers.sweep(self._image.engine, self._surroundings.instance)
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"Containers could not be removed: {error}") from error
