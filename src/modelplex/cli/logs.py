"""`modelplex logs`: CloudWatch Logs of an endpoint or of one of its models."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from modelplex.cli import target as targets
from modelplex.cli.output import data_option, endpoint_argument, json_option, say

_POLL_S = 1.0
_STREAMS_MAX = 100  # that FilterLogEvents takes by name
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@endpoint_argument
@click.argument("model", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--since", default="1h", show_default=True, help="How far back: 30s, 5m, 2h, 1d.")
@click.option("--filter", "pattern", default="", help="A CloudWatch Logs filter pattern.")
@data_option
@json_option
def logs(
    *,
    name: str,
    model: str | None,
    follow: bool,
    since: str,
    pattern: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Print what an endpoint's handlers wrote, or MODEL's alone."""
    target = targets.find(data)
    start_ms = int((time.time() - _seconds(since)) * 1000)
    with targets.speaking(target, name):
        source = Source(target.client("logs"), f"/aws/sagemaker/Endpoints/{name}", model, pattern)
        if not source.exists():  # logs outlive their endpoint
            target.client("sagemaker").describe_endpoint(EndpointName=name)  # AWS's own error
        found = False
        for event in source.events(start_ms, follow):
            found = True
            click.echo(json.dumps(event) if as_json else _line(event, model))
    if not found:
        say(f"Nothing within {since}.")


class Source:
    """The events of a group, or of the streams that end in one model's name."""

    def __init__(self, client: Any, group: str, model: str | None, pattern: str) -> None:
        self._client = client
        self._group = group
        self._model = model
        self._pattern = {"filterPattern": pattern} if pattern else {}

    def exists(self) -> bool:
        """Whether anybody has ever written into the group."""
        groups = self._client.describe_log_groups(logGroupNamePrefix=self._group)["logGroups"]
        return self._group in {each["logGroupName"] for each in groups}

    def events(self, start_ms: int, follow: bool) -> Iterator[dict[str, Any]]:
        """Every event from `start_ms` on, once, in the order of time."""
        seen: set[str] = set()  # of the newest millisecond, which is asked for again
        while True:
            for event in self._page(start_ms):
                if event["eventId"] in seen:
                    continue
                if event["timestamp"] > start_ms:
                    start_ms, seen = event["timestamp"], set()
                seen.add(event["eventId"])
                yield event
            if not follow:
                return
            time.sleep(_POLL_S)

    def _page(self, start_ms: int) -> Iterator[dict[str, Any]]:
        streams = self._streams()
        if streams == []:
            return
        chosen = {} if streams is None else {"logStreamNames": streams}
        paginator = self._client.get_paginator("filter_log_events")
        try:
            for page in paginator.paginate(
                logGroupName=self._group, startTime=start_ms, **self._pattern, **chosen
            ):
                yield from page["events"]
        except self._client.exceptions.ResourceNotFoundException:
            return  # nobody has written a line yet

    def _streams(self) -> list[str] | None:
        """The model's streams, one per instance; None for all there are."""
        if self._model is None:
            return None
        paginator = self._client.get_paginator("describe_log_streams")
        try:
            pages = list(paginator.paginate(logGroupName=self._group))
        except self._client.exceptions.ResourceNotFoundException:
            return []
        names = (each["logStreamName"] for page in pages for each in page["logStreams"])
        ours = (each for each in names if each.split("/", 2)[2:] == [self._model])
        return list(itertools.islice(ours, _STREAMS_MAX))


def _line(event: dict[str, Any], model: str | None) -> str:
    seconds, milliseconds = divmod(event["timestamp"], 1000)
    moment = time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{milliseconds:03d}"
    parts = event["logStreamName"].split("/", 2)
    shown = parts[1] if model else "/".join(parts[1:])
    return f"{moment} {shown}  {event['message']}"


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write 30s, 5m, 2h or 1d.", param_hint="--since")
    return float(match[1]) * _UNITS[match[2]]
