"""AddTags, ListTags, DeleteTags, asked by boto3."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.control.world import World

ARN = "arn:aws:sagemaker:us-west-2:123456789012:model/model"


def tags(count: int, value: str = "v") -> list[dict[str, str]]:
    return [{"Key": f"k{n}", "Value": value} for n in range(count)]


async def test_tags_are_added_overwritten_listed_and_deleted(w: World) -> None:
    """AddTags answers with all tags, overwritten ones in their old places."""
    await w.model()
    assert (await w.sm("add_tags", ResourceArn=ARN, Tags=tags(2)))["Tags"] == tags(2)
    added = await w.sm("add_tags", ResourceArn=ARN, Tags=[{"Key": "k0", "Value": "new"}])
    assert added["Tags"] == [{"Key": "k0", "Value": "new"}, {"Key": "k1", "Value": "v"}]
    await w.sm("delete_tags", ResourceArn=ARN, TagKeys=["k1", "never"])
    listed = await w.sm("list_tags", ResourceArn=ARN, MaxResults=50)
    assert listed["Tags"] == [{"Key": "k0", "Value": "new"}]
    assert "NextToken" not in listed


async def test_a_resource_has_at_most_fifty_tags(w: World) -> None:
    """More are refused as a whole."""
    await w.model()
    await w.sm("add_tags", ResourceArn=ARN, Tags=tags(50))
    with pytest.raises(ClientError) as caught:
        await w.sm("add_tags", ResourceArn=ARN, Tags=[{"Key": "more", "Value": ""}])
    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    assert len((await w.sm("list_tags", ResourceArn=ARN))["Tags"]) == 50


async def test_tags_of_what_is_not_there_are_refused(w: World) -> None:
    """With the ARN that was asked for."""
    for operation, members in (
        ("add_tags", {"Tags": tags(1)}),
        ("list_tags", {}),
        ("delete_tags", {"TagKeys": ["k"]}),
    ):
        with pytest.raises(ClientError, match=f'ValidationException.*Could not find .*"{ARN}"'):
            await w.sm(operation, ResourceArn=ARN, **members)
    await w.model()
    with pytest.raises(ClientError, match=r"ValidationException.*NextToken"):
        await w.sm("list_tags", ResourceArn=ARN, NextToken="x")
