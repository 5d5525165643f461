"""A single-model container: it comes and goes with its model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.instance.answers import TIMED_OUT
from modelplex.instance.containers.single import SingleContainer
from modelplex.workers.errors import LoadFailed
from modelplex.workers.invocations import Invocation
from modelplex.workers.model import ModelSpec
from tests.instance.containers.fake import MIB, Script, place, terms


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A container that does everything right."""
    return Script(tmp_path)


@pytest.fixture
def failures() -> list[str]:
    """What the instance heard."""
    return []


@pytest.fixture
async def pool(
    script: Script, failures: list[str], tmp_path: Path
) -> AsyncIterator[SingleContainer]:
    """Ends its containers."""
    conditions = terms(multi_model=False)
    pool = SingleContainer(script, place(tmp_path), conditions, failures.append)
    yield pool
    await pool.close()


@pytest.fixture
def model(tmp_path: Path) -> ModelSpec:
    """The model."""
    return ModelSpec("m.tar.gz", tmp_path / "models" / "0f" / "model")


async def test_the_container_starts_with_its_model(
    pool: SingleContainer, script: Script, model: ModelSpec
) -> None:
    """It sees the one folder, is not asked for its models, and answers `/invocations`."""
    await pool.start()
    assert script.lives == []
    tenant = await pool.load(model, 30)
    assert script.last.place.model == model.folder
    assert ("GET", "/models") not in script.asked
    assert (await tenant.invoke(Invocation([], b"hi"), 5)).body == b"hi"
    assert tenant.memory_bytes() == 100 * MIB
    assert pool.zygote_pid == 4242
    assert await tenant.unload() == 100 * MIB
    assert script.last.stopped
    assert pool.zygote_pid is None


async def test_a_late_answer_does_not_cost_the_container_its_life(
    pool: SingleContainer, script: Script, model: ModelSpec
) -> None:
    """Nor does SageMaker end it."""
    tenant = await pool.load(model, 30)
    script.hangs.add(("POST", "/invocations"))
    answer = await tenant.invoke(Invocation([], b"hi"), 0.05)
    assert (answer.status, answer.body.decode()) == (0, TIMED_OUT)
    assert not tenant.exited.done()


async def test_its_end_is_the_models(
    pool: SingleContainer, script: Script, model: ModelSpec
) -> None:
    """And it can be loaded again."""
    tenant = await pool.load(model, 30)
    await script.last.die()
    assert str(await tenant.exited) == "the container ended: exit code 3"
    assert (await pool.load(model, 30)).memory_bytes() == 100 * MIB


async def test_the_instance_hears_why_it_does_not_start(
    script: Script, failures: list[str], model: ModelSpec, tmp_path: Path
) -> None:
    """In the sentence for the endpoint."""
    script.hangs.add(("GET", "/ping"))
    impatient = terms(multi_model=False, health_timeout_s=0.3)
    pool = SingleContainer(script, place(tmp_path), impatient, failures.append)
    with pytest.raises(LoadFailed):
        await pool.load(model, 30)
    await pool.close()
    assert failures[0].startswith(
        "The primary container for production variant AllTraffic did not pass the ping health "
        "check within 0.3 s"
    )


async def test_two_at_once_have_names_of_their_own(
    pool: SingleContainer, script: Script, model: ModelSpec
) -> None:
    """A newer version starts beside the one that serves."""
    await pool.load(model, 30)
    await pool.load(model, 30)
    assert [life.place.instance for life in script.lives] == ["i-1", "i-1-2"]
