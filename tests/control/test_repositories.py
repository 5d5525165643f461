"""ECR's repositories among the records, and ECR as boto3 meets it through control."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from modelplex.control.records import Records
from modelplex.control.repositories import RecordedRepositories
from modelplex.ecr.repositories import Repository
from modelplex.http.messages import Body, Request
from tests.control.world import World

ARN = "arn:aws:ecr:us-west-2:123456789012:repository/team/demo"
DEMO = Repository("team/demo", ARN, 1000.5, immutable=True)


def test_a_repository_outlives_control(tmp_path: Path) -> None:
    """With its tags, which go with it."""
    records = Records(tmp_path / "records.sqlite")
    RecordedRepositories(records).add(DEMO, [("team", "a")])
    records.close()
    records = Records(tmp_path / "records.sqlite")
    kept = RecordedRepositories(records)
    assert kept.get("team/demo") == DEMO
    assert kept.all() == [DEMO]
    assert kept.tags(ARN) == {"team": "a"}
    kept.delete(ARN)
    assert kept.get("team/demo") is None
    assert kept.tags(ARN) == {}
    records.close()


async def test_the_registry_s_door_asks_for_one(w: World) -> None:
    """By its name, slashes and all."""
    assert w.records is not None
    RecordedRepositories(w.records).add(DEMO, [])

    async def ask(name: str) -> tuple[int, object]:
        request = Request("GET", b"/repositories/" + name.encode(), [], Body.of(b""), "test")
        answer = await w.control.handle(request)
        assert isinstance(answer.body, bytes)
        return answer.status, json.loads(answer.body)

    assert await ask("team/demo") == (200, {"name": "team/demo", "immutable": True})
    assert (await ask("team"))[0] == 404


async def test_without_a_registry_ecr_says_how_to_have_one(w: World) -> None:
    """501, which no SDK tries again."""
    with pytest.raises(ClientError, match="modelplex up --registry") as caught:
        await w.aws("ecr", "describe_repositories")
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
