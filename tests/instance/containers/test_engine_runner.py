"""Lives of containers on a real engine, with a busybox inside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import docker
import pytest

from modelplex.engine.images import MULTI_MODEL_LABEL
from modelplex.http.client import Client
from modelplex.instance.containers.engine_runner import EngineRunner, EngineRunners
from modelplex.instance.containers.images import OciImage
from modelplex.instance.containers.runner import Ended, Surroundings
from modelplex.workers.errors import StartFailed
from tests.support.base_images import add_busybox
from tests.support.engine import Engine
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

MIB = 1024 * 1024
INSTANCE = "i-0123456789abcdef0"
SERVE = """
echo "run as $1 with $MODE $SAGEMAKER_BIND_TO_PORT"
case "$MODE" in
    exit) echo broken; exit 3 ;;
    linger) trap "" TERM ;;
    hungry) exec busybox dd if=/dev/zero of=/dev/null bs=256M ;;
    *) trap "echo asked to go; exit 0" TERM ;;
esac
busybox httpd -p 8080 -h /opt/ml/models
while :; do sleep 1 & wait $!; done
"""
# A platform that starts an instance, which runs a container and says so.
PLATFORM = """
import asyncio, os, subprocess, sys
if sys.argv[1] == "platform":
    subprocess.run([sys.executable, "-c", sys.argv[2], "instance", *sys.argv[2:]])
else:
    from pathlib import Path
    from tests.instance.containers.test_engine_runner import runner
    async def live():
        await runner(sys.argv[3], Path(sys.argv[4]), print).start()
        print("runs as", os.getpid(), flush=True)
        await asyncio.sleep(60)
    asyncio.run(live())
"""

Run = Callable[..., EngineRunner]


def runner(
    engine: str,
    folder: Path,
    on_output: Callable[[str], None],
    *,
    mode: str = "",
    name: str = "serve:1",
    isolated: bool = False,
    needs_label: bool = True,
    instance: str = INSTANCE,
) -> EngineRunner:
    """Of an instance whose disk is `folder`."""
    image = OciImage(name, name, engine, False, None, isolated, needs_label)
    place = Surroundings(
        instance=instance,
        environment={"MODE": mode},
        memory_bytes=64 * MIB,
        vcpus=999,
        models=folder,
        model=None,
        scratch=folder,
        on_output=on_output,
        cgroup=None,
    )
    return EngineRunners(image, 5.0)(place)


@pytest.fixture(scope="module")
def images(engine: Engine) -> Engine:
    """The engine with an image that serves the folder of all models, and one without a label."""
    quoted = SERVE.replace('"', '\\"').replace("\n", "\\n")
    entry = f'ENTRYPOINT ["/bin/sh", "-c", "{quoted}", "sh"]'
    add_busybox(engine, "serve:1", f"LABEL {MULTI_MODEL_LABEL}=true", entry)
    add_busybox(engine, "bare:1")
    return engine


@pytest.fixture
def output() -> list[str]:
    """What the containers of a test have printed."""
    return []


@pytest.fixture
async def run(images: Engine, tmp_path: Path, output: list[str]) -> AsyncIterator[Run]:
    """A maker of runners, whose containers are gone afterwards with all that belongs to them."""
    made: list[EngineRunner] = []

    def make(**changes: object) -> EngineRunner:
        made.append(runner(images.url, tmp_path, output.append, **changes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        await each.stop(0)
    assert images.containers() == []


async def get(address: str, target: str) -> tuple[int, bytes]:
    """What the container's server answers, once it listens."""
    client = Client(address)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    answer = await client.request("GET", target.encode(), [], timeout_s=5)
                    return answer.status, await answer.read(10**6)
                except OSError:
                    await asyncio.sleep(0.02)
    finally:
        await client.close()


async def how_it_ends(life: EngineRunner) -> str:
    """In words, of one that ends at once: the start may hear of it or not."""
    try:
        await life.start()
    except StartFailed as error:
        return str(error)
    return str(await life.wait())


async def test_a_container_sees_models_that_come_while_it_runs(
    run: Run, tmp_path: Path, output: list[str]
) -> None:
    """As files of another place, which it cannot write to; it is asked to go in the end."""
    life = run()
    address = await life.start()
    model = tmp_path / "abc" / "model"
    model.mkdir(parents=True)
    (model / "weights").write_text("w")
    assert await get(address, "/abc/model/weights") == (200, b"w")
    assert life.path(model) == "/opt/ml/models/abc/model"
    assert life.pid is not None
    assert 0 < await life.memory_bytes() < 64 * MIB
    await life.stop(10)
    assert await life.wait() == Ended("exit code 0")
    assert output == ["run as serve with  8080", "asked to go"]


async def test_one_that_does_not_go_is_killed(run: Run, output: list[str]) -> None:
    """After its grace, and that is no lack of memory."""
    life = run(mode="linger")
    address = await life.start()
    await get(address, "/")  # by now it ignores the signal
    await life.stop(0.1)
    assert await life.wait() == Ended("exit code 137, as after SIGKILL")


async def test_one_that_is_removed_before_it_was_looked_at_has_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We remove it as soon as it has ended; that was not somebody else."""
    removed = threading.Event()
    inspect = docker.APIClient.inspect_container

    def inspect_late(client: docker.APIClient, name: str) -> object:
        assert removed.wait(60)
        return inspect(client, name)

    life = run(mode="linger")
    await life.start()
    monkeypatch.setattr(docker.APIClient, "inspect_container", inspect_late)
    await life.stop(0.1)
    removed.set()
    assert await life.wait() == Ended("exit code 137, as after SIGKILL")


async def test_its_end_is_heard_of(run: Run, images: Engine) -> None:
    """Whoever ended it."""
    life = run()
    await life.start()
    images.docker("kill", f"modelplex-{INSTANCE}")
    assert await life.wait() == Ended("exit code 137, as after SIGKILL")


async def test_one_that_takes_too_much_is_out_of_memory(run: Run) -> None:
    """The limit is the instance's, and there is no swap beyond it."""
    assert "out of memory" in await how_it_ends(run(mode="hungry"))


async def test_an_isolated_one_is_reached_and_reaches_nobody(run: Run, images: Engine) -> None:
    """There is no route in it but that to its own network."""
    life = run(isolated=True)
    assert (await get(await life.start(), "/"))[0] in (403, 404)
    other = run(instance="i-other")
    await get(await other.start(), "/")
    for name, code in (("modelplex-i-other", 0), (f"modelplex-{INSTANCE}", 1)):
        path = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        at = images.docker("inspect", "--format", path, "modelplex-i-other").strip()
        ask = f"echo | busybox nc -w 1 {at} 8080 >/dev/null 2>&1; echo $?"
        assert int(images.docker("exec", name, "sh", "-c", ask)) == code


async def test_each_failure_of_a_start_is_a_sentence(run: Run, output: list[str]) -> None:
    """Fit for a FailureReason."""
    for changes, said in (
        ({"name": "bare:1"}, "Your Ecr Image bare:1 does not contain required"),
        ({"name": "bare:1", "needs_label": False}, "could not be started: .*named serve"),
        ({"name": "127.0.0.1:1/none:1"}, "127.0.0.1:1/none:1 could not be pulled: .*refused"),
        ({"name": "sha256:" + "0" * 64}, "has no image sha256:0+ any more"),
    ):
        with pytest.raises(StartFailed, match=said):
            await run(**changes).start()


async def test_an_early_end_is_told_with_the_last_words(run: Run, output: list[str]) -> None:
    """By the start, or by the end that follows it at once."""
    assert "exit code 3" in await how_it_ends(run(mode="exit"))
    await eventually(lambda: output[-1:] == ["broken"])


async def test_a_cancelled_start_leaves_nothing(run: Run) -> None:
    """The fixture looks."""
    life = run()
    starting = asyncio.ensure_future(life.start())
    await asyncio.sleep(0.05)
    starting.cancel()
    await life.stop(1)


@pytest.mark.parametrize("victim", ["instance", "platform"])
async def test_no_container_outlives_its_instance_or_the_platform(
    images: Engine, tmp_path: Path, victim: str
) -> None:
    """Killed, so that neither can do anything about it."""
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", PLATFORM, "platform", PLATFORM, images.url, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as platform:
        instance = 0
        try:
            while not instance:
                words = (platform.stdout or sys.stdin).readline().split()
                instance = int(words[2]) if words[:2] == ["runs", "as"] else 0
            assert images.containers()
            os.kill(platform.pid if victim == "platform" else instance, signal.SIGKILL)
            await eventually(lambda: not images.containers())
        finally:
            for pid in filter(None, (platform.pid, instance)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
