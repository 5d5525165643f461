"""The container contract, as the platform speaks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelplex.instance.containers.contract import Contract, Late, NoAnswer
from tests.instance.containers.fake import Fake, Script, place


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A container that does everything right."""
    return Script(tmp_path)


@pytest.fixture
async def fake(script: Script, tmp_path: Path) -> AsyncIterator[Fake]:
    """It runs."""
    fake = script(place(tmp_path))
    yield fake
    await fake.stop(0)


@pytest.fixture
async def contract(fake: Fake) -> AsyncIterator[Contract]:
    """Speaks to it."""
    contract = Contract(await fake.start(), 30, 8)
    yield contract
    await contract.close()


async def test_a_ping_is_good_or_says_what_it_is(
    script: Script, fake: Fake, contract: Contract
) -> None:
    """200 and nothing else; a hanging one counts as bad after its limit."""
    assert await contract.ping() == ""
    script.replies["GET", "/ping"] = [503]
    assert await contract.ping() == "GET /ping was answered 503 said 503"
    script.hangs.add(("GET", "/ping"))
    impatient = Contract(fake.address, 0.2, 8)
    assert await impatient.ping() == "GET /ping was not answered within 0.2 s"
    await impatient.close()


async def test_models_come_in_pages(script: Script, fake: Fake, contract: Contract) -> None:
    """Every page's token is sent back."""
    fake.models = [f"m{number}" for number in range(5)]
    script.page = 2
    assert [name async for name in contract.models()] == fake.models
    assert ("GET", "/models?next_page_token=4") in script.asked


async def test_a_list_that_is_none_is_no_answer(script: Script, contract: Contract) -> None:
    """A container without `GET /models` is not fit for many models."""
    script.replies["GET", "/models"] = [404, 404]
    assert await contract.lists() == "GET /models was answered 404 said 404"
    with pytest.raises(NoAnswer, match="GET /models was answered 404"):
        _ = [name async for name in contract.models()]


async def test_load_invoke_and_unload(fake: Fake, script: Script, contract: Contract) -> None:
    """The path is the container's own, and an answer comes as it is."""
    assert (await contract.load("x", "/opt/ml/models/x/model", 5, "a/x.tar.gz")).good
    assert script.headers[-1][b"x-amzn-sagemaker-target-model"] == b"a/x.tar.gz"
    answer = await contract.invoke(b"/models/x/invoke", [(b"accept", b"a/b")], b"hi", 5, 100)
    assert (answer.status, answer.body) == (200, b"hi")
    assert dict(answer.headers)[b"content-type"] == b"text/own"
    assert script.headers[-1][b"accept"] == b"a/b"
    assert (await contract.unload("x", 5)).good
    assert script.headers[-1][b"x-amzn-sagemaker-target-model"] == b"a/x.tar.gz"
    gone = await contract.unload("x", 5)
    assert (gone.status, gone.text, fake.models) == (404, "x is not there", [])


async def test_an_answer_that_is_too_long_is_an_error(contract: Contract) -> None:
    """It is not passed on, nor read to its end."""
    await contract.load("x", "/x", 5, "x.tar.gz")
    answer = await contract.invoke(b"/models/x/invoke", [], b"y" * 101, 5, 100)
    assert answer.status == 500
    assert b"longer than 100 bytes" in answer.body


async def test_silence_is_late_and_a_death_is_no_answer(
    script: Script, fake: Fake, contract: Contract
) -> None:
    """They are told apart, and whether anything was sent."""
    script.hangs.add(("POST", "/invocations"))
    with pytest.raises(Late, match=r"within 0\.05 s"):
        await contract.invoke(b"/invocations", [], b"", 0.05, 100)
    await fake.die()
    with pytest.raises(NoAnswer) as caught:
        await contract.load("x", "/x", 5, "x.tar.gz")
    assert not caught.value.sent
