"""CloudWatch Logs, asked by boto3, its paginators and the AWS CLI's way of following."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.control.world import World

GROUP = "/aws/sagemaker/Endpoints/demo"


def write(w: World, file: str, *lines: tuple[int, str], group: str = GROUP) -> None:
    path = Path(f"{w.data / 'logs'}{group}") / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        for t, message in lines:
            log.write(json.dumps({"t": t, "m": message, "model": None}) + "\n")


@pytest.fixture
def lw(w: World) -> World:
    """Two instances and one model's handler, interleaved in time."""
    write(w, "v~i-1.jsonl", (1000, "one starts"), (4000, "one ERROR ends"))
    write(w, "v~i-2.jsonl", (2000, "two starts"), (5000, "two ends"))
    write(w, "v~i-1~a%2Fb.tar.gz.jsonl", (3000, "model says ERROR"))
    return w


async def filtered(w: World, **members: Any) -> list[str]:
    answer = await w.aws("logs", "filter_log_events", logGroupName=GROUP, **members)
    return [event["message"] for event in answer["events"]]


async def test_events_of_all_streams_are_merged_by_time(lw: World) -> None:
    """With stream, times and an id of their own."""
    answer = await lw.aws("logs", "filter_log_events", logGroupName=GROUP)
    assert [event["timestamp"] for event in answer["events"]] == [1000, 2000, 3000, 4000, 5000]
    third = answer["events"][2]
    assert third["logStreamName"] == "v/i-1/a/b.tar.gz"
    assert third["ingestionTime"] == 3000
    assert len({event["eventId"] for event in answer["events"]}) == 5
    assert "nextToken" not in answer


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"startTime": 2000, "endTime": 3000}, ["two starts", "model says ERROR"]),
        ({"logStreamNames": ["v/i-2"]}, ["two starts", "two ends"]),
        ({"logStreamNamePrefix": "v/i-1/"}, ["model says ERROR"]),
        ({"filterPattern": "ERROR"}, ["model says ERROR", "one ERROR ends"]),
        ({"filterPattern": '"says ERROR"'}, ["model says ERROR"]),
        ({"filterPattern": "ERROR -model"}, ["one ERROR ends"]),
        ({"filterPattern": "?starts ?says", "endTime": 2500}, ["one starts", "two starts"]),
        ({"filterPattern": "error"}, []),
        ({"startTime": 9000}, []),
    ],
)
async def test_events_are_chosen_by_time_stream_and_pattern(
    lw: World, members: dict[str, Any], expected: list[str]
) -> None:
    """startTime and endTime are both inclusive."""
    assert await filtered(lw, **members) == expected


async def test_a_paginator_sees_every_event_once(lw: World) -> None:
    """However small the pages."""
    pages = lw.client("logs").get_paginator("filter_log_events")
    found = await asyncio.to_thread(
        lambda: [
            event["message"]
            for page in pages.paginate(logGroupName=GROUP, limit=2)
            for event in page["events"]
        ]
    )
    assert found == await filtered(lw)


async def test_following_sees_every_event_once(lw: World) -> None:
    """Asking again from the newest time on and dropping known ids, as `aws logs tail` does."""
    seen: dict[str, str] = {}
    members: dict[str, Any] = {"startTime": 0}
    for number in range(4):
        answer = await lw.aws("logs", "filter_log_events", logGroupName=GROUP, **members)
        seen |= {event["eventId"]: event["message"] for event in answer["events"]}
        members["startTime"] = max(event["timestamp"] for event in answer["events"])
        write(lw, "v~i-1.jsonl", (5000 + number, f"later {number}"))
    assert list(seen.values())[5:] == ["later 0", "later 1", "later 2"]


async def test_one_stream_is_read_forwards_and_backwards(lw: World) -> None:
    """At either end the token stays the same, which is how clients know it."""
    write(lw, "v~i-3.jsonl", *[(n, f"line {n}") for n in range(10)])

    async def get(**members: Any) -> tuple[list[str], str, str]:
        answer = await lw.aws(
            "logs", "get_log_events", logGroupName=GROUP, logStreamName="v/i-3", limit=4, **members
        )
        lines = [event["message"].removeprefix("line ") for event in answer["events"]]
        return lines, answer["nextForwardToken"], answer["nextBackwardToken"]

    newest, _, back = await get()
    assert newest == list("6789")
    older, _, back = await get(nextToken=back)
    assert older == list("2345")
    first, _, back = await get(nextToken=back)
    assert first == list("01")
    assert await get(nextToken=back) == ([], await_forward(back), back)
    head, forward, _ = await get(startFromHead=True)
    assert head == list("0123")
    rest, forward, _ = await get(nextToken=forward)
    assert rest == list("4567")
    rest, forward, _ = await get(nextToken=forward)
    assert rest == list("89")
    end, again, _ = await get(nextToken=forward)
    assert (end, again) == ([], forward)
    write(lw, "v~i-3.jsonl", (11, "line N"))
    assert (await get(nextToken=forward))[0] == ["N"]


async def test_an_answer_holds_a_mebibyte_of_events_at_most(w: World) -> None:
    """The rest comes with the next token, either way."""
    write(w, "v~i.jsonl", *[(n, str(n % 10) * 300_000) for n in range(6)])
    members = {"logGroupName": GROUP, "logStreamName": "v/i"}
    answer = await w.aws("logs", "get_log_events", **members)
    assert [event["timestamp"] for event in answer["events"]] == [3, 4, 5]
    token = answer["nextBackwardToken"]
    answer = await w.aws("logs", "get_log_events", nextToken=token, **members)
    assert [event["timestamp"] for event in answer["events"]] == [0, 1, 2]
    answer = await w.aws("logs", "get_log_events", startFromHead=True, **members)
    assert [event["timestamp"] for event in answer["events"]] == [0, 1, 2]
    answer = await w.aws("logs", "filter_log_events", logGroupName=GROUP)
    assert len(answer["events"]) < 6
    assert answer["nextToken"]


def await_forward(back: str) -> str:
    """The forward token of the place where a backward token is."""
    return "f" + back[1:]


async def test_groups_and_streams_are_described(lw: World) -> None:
    """By prefix, part of the name, or time of the newest event; in pages."""
    write(lw, "v~i.jsonl", (1, "x"), group="/aws/sagemaker/Endpoints/other")
    answer = await lw.aws("logs", "describe_log_groups", logGroupNamePrefix="/aws/sagemaker/")
    names = [group["logGroupName"] for group in answer["logGroups"]]
    assert names == [GROUP, "/aws/sagemaker/Endpoints/other"]
    assert answer["logGroups"][0]["creationTime"] == 1000
    assert answer["logGroups"][0]["arn"].endswith(f":log-group:{GROUP}:*")
    answer = await lw.aws("logs", "describe_log_groups", logGroupNamePattern="OTHER")
    assert [g["logGroupName"] for g in answer["logGroups"]] == ["/aws/sagemaker/Endpoints/other"]
    for members, expected in (
        ({"logGroupIdentifiers": [GROUP]}, [GROUP]),
        ({"logGroupClass": "STANDARD", "logGroupNamePrefix": GROUP}, [GROUP]),
        ({"logGroupClass": "INFREQUENT_ACCESS"}, []),
    ):
        answer = await lw.aws("logs", "describe_log_groups", **members)
        assert [group["logGroupName"] for group in answer["logGroups"]] == expected
    pages = lw.client("logs").get_paginator("describe_log_streams")
    found = await asyncio.to_thread(
        lambda: [
            stream
            for page in pages.paginate(logGroupName=GROUP, limit=1)
            for stream in page["logStreams"]
        ]
    )
    assert [s["logStreamName"] for s in found] == ["v/i-1", "v/i-1/a/b.tar.gz", "v/i-2"]
    assert found[0]["firstEventTimestamp"] == 1000
    answer = await lw.aws(
        "logs",
        "describe_log_streams",
        logGroupIdentifier=f"arn:aws:logs:us-west-2:123456789012:log-group:{GROUP}",
        orderBy="LastEventTime",
        descending=True,
    )
    assert len(answer["logStreams"]) == 3


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("filter_log_events", {"logGroupName": "/no/group"}, "ResourceNotFoundException"),
        ("filter_log_events", {"logGroupName": "/../.."}, "ResourceNotFoundException"),
        ("filter_log_events", {}, "InvalidParameterException"),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logGroupIdentifier": GROUP},
            "InvalidParameterException",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logStreamNames": ["nope"]},
            "ResourceNotFoundException",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "logStreamNames": ["v/i-1"], "logStreamNamePrefix": "v"},
            "InvalidParameterException",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "nextToken": "x"},
            "InvalidParameterException",
        ),
        ("filter_log_events", {"logGroupName": GROUP, "limit": 0}, "InvalidParameterException"),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "startFromHead": False},
            "InvalidParameterException",
        ),
        (
            "filter_log_events",
            {"logGroupName": GROUP, "filterPattern": "{ $.level = 1 }"},
            "InvalidParameterException",
        ),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "nope"},
            "ResourceNotFoundException",
        ),
        (
            "get_log_events",
            {"logGroupName": GROUP, "logStreamName": "v/i-1", "nextToken": "x/y"},
            "InvalidParameterException",
        ),
        (
            "describe_log_streams",
            {"logGroupName": GROUP, "orderBy": "LastEventTime", "logStreamNamePrefix": "v"},
            "InvalidParameterException",
        ),
        (
            "describe_log_groups",
            {"logGroupNamePrefix": "a", "logGroupNamePattern": "a"},
            "InvalidParameterException",
        ),
        ("describe_log_groups", {"nextToken": "x"}, "InvalidParameterException"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    lw: World, operation: str, members: dict[str, Any], code: str
) -> None:
    """With CloudWatch's own codes."""
    with pytest.raises(ClientError) as caught:
        await lw.aws("logs", operation, **members)
    assert caught.value.response["Error"]["Code"] == code
