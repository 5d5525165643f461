"""Filters, order and paging of the List operations, asked by boto3 and its paginators."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelplex.control.records import Kind, Record, Records
from tests.control.world import World


@pytest.fixture
def full(w: World) -> World:
    """25 models, created a minute apart, names in another order than times; 3 endpoints."""
    records = w.records
    assert isinstance(records, Records)
    container = {"Image": "echo", "ModelDataUrl": "s3://bkt/m.tar.gz"}
    for n in range(25):
        name = f"Model-{n * 7 % 25:02}"
        document = {"ModelName": name, "PrimaryContainer": container}
        at = 1_000_000 + 60.0 * n
        records.put(Record(Kind.MODEL, name, _arn("model", name), document, at, at))
    return w


def _arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:us-west-2:123456789012:{kind}/{name.lower()}"


def names(answer: dict[str, Any]) -> list[str]:
    return [row["ModelName"] for row in answer["Models"]]


def minute(n: int) -> datetime:
    return datetime.fromtimestamp(1_000_000 + 60 * n, UTC)


async def test_a_list_is_the_newest_first_ten_at_a_time(full: World) -> None:
    """AWS's defaults: SortBy CreationTime, SortOrder Descending."""
    answer = await full.sm("list_models")
    assert names(answer) == [f"Model-{n * 7 % 25:02}" for n in range(24, 14, -1)]
    assert answer["Models"][0]["CreationTime"] == minute(24)
    assert answer["Models"][0]["ModelArn"] == _arn("model", "Model-18")


@pytest.mark.parametrize("by", ["Name", "CreationTime"])
@pytest.mark.parametrize("order", ["Ascending", "Descending"])
async def test_a_paginator_sees_everything_once_in_order(full: World, by: str, order: str) -> None:
    """Whatever the page's size."""
    pages = full.client("sagemaker").get_paginator("list_models")
    found = await asyncio.to_thread(
        lambda: [
            row
            for page in pages.paginate(SortBy=by, SortOrder=order, MaxResults=4)
            for row in page["Models"]
        ]
    )
    keys = [row["ModelName" if by == "Name" else "CreationTime"] for row in found]
    assert keys == sorted(set(keys), reverse=order == "Descending")
    assert len(keys) == 25


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"NameContains": "model-1"}, {f"Model-{n}" for n in range(10, 20)}),
        ({"NameContains": "-24"}, {"Model-24"}),
        ({"NameContains": "none"}, set()),
        ({"CreationTimeBefore": minute(1)}, {"Model-00"}),
        ({"CreationTimeAfter": minute(24)}, {"Model-18"}),
        (
            {"CreationTimeAfter": minute(1), "CreationTimeBefore": minute(3)},
            {"Model-07", "Model-14"},
        ),
    ],
)
async def test_filters_hold_together(
    full: World, filters: dict[str, Any], expected: set[str]
) -> None:
    """A row must pass all of them; "after" includes the moment itself."""
    answer = await full.sm("list_models", MaxResults=100, **filters)
    assert set(names(answer)) == expected
    assert "NextToken" not in answer


async def test_a_token_is_stable_under_inserts_and_bound_to_its_question(full: World) -> None:
    """New rows do not shift pages; another question's token is refused."""
    first = await full.sm("list_models", MaxResults=20)
    await full.model("newest")
    rest = await full.sm("list_models", MaxResults=20, NextToken=first["NextToken"])
    assert len(names(first) + names(rest)) == 25
    assert "newest" not in names(rest)
    for other in ({"NameContains": "x"}, {"SortBy": "Name"}, {"SortOrder": "Ascending"}):
        with pytest.raises(ClientError, match=r"ValidationException.*NextToken"):
            await full.sm("list_models", NextToken=first["NextToken"], **other)
    for nonsense in ("x", "e30=", "é", "W10="):
        with pytest.raises(ClientError, match=r"ValidationException.*NextToken"):
            await full.sm("list_models", NextToken=nonsense)


async def test_limits_of_the_request_are_the_services(full: World) -> None:
    """MaxResults is 1 to 100; the sort keys are an enum."""
    assert len(names(await full.sm("list_models", MaxResults=1))) == 1
    for members in ({"MaxResults": 101}, {"SortBy": "Size"}, {"SortOrder": "Random"}):
        with pytest.raises(ClientError, match="validation error detected"):
            await full.sm("list_models", **members)


async def test_endpoints_and_configurations_are_listed_too(w: World) -> None:
    """With status and times, filtered by status and by modification."""
    await w.in_service("one")
    await w.endpoint("two")
    await w.sm("delete_endpoint", EndpointName="two")
    configs = await w.sm("list_endpoint_configs", SortBy="Name", SortOrder="Ascending")
    found = [row["EndpointConfigName"] for row in configs["EndpointConfigs"]]
    assert found == ["one-config", "two-config"]
    listed = await w.sm("list_endpoints", StatusEquals="InService")
    (row,) = listed["Endpoints"]
    assert (row["EndpointName"], row["EndpointStatus"]) == ("one", "InService")
    assert row["LastModifiedTime"] >= row["CreationTime"]
    for members, count in (
        ({"LastModifiedTimeAfter": row["CreationTime"].replace(year=2020)}, 1),
        ({"LastModifiedTimeBefore": row["CreationTime"].replace(year=2020)}, 0),
        ({"SortBy": "Status", "StatusEquals": "Failed"}, 0),
    ):
        answer = await w.sm("list_endpoints", NameContains="one", **members)
        assert len(answer["Endpoints"]) == count
