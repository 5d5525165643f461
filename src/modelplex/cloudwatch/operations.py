"""CloudWatch Logs' operations over the log folders: what `aws logs tail` and paginators ask."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from modelplex.aws import arns, tokens
from modelplex.aws.errors import InvalidParameterException, ResourceNotFoundException
from modelplex.cloudwatch import files
from modelplex.cloudwatch.files import Event, Stream
from modelplex.cloudwatch.patterns import Match, pattern

_FOREVER_MS = 10**14 - 1
_SCANNED_MAX = 100_000  # lines looked at per call; then the call answers with a token
_ANSWER_BYTES_MAX = 1024 * 1024  # of events per call, as the service's
_EVENTS_MAX = 10_000  # per call; the service's default and maximum
_NAMES_MAX = 50  # of groups or streams per call, likewise
_BAD_TOKEN = "The specified nextToken is invalid."
_TRIES = 5  # of one call, when a file is rotated while it is read

Document = dict[str, Any]


class Logs:
    """The log groups under one folder. All functions read files: call them in a thread."""

    def __init__(self, root: Path, account: str, region: str) -> None:
        self._root = root
        self._arn = partial(arns.log_group_arn, account, region)
        self.operations: dict[str, Callable[[Document], Document]] = {
            "FilterLogEvents": self._filter_log_events,
            "GetLogEvents": self._get_log_events,
            "DescribeLogGroups": self._describe_log_groups,
            "DescribeLogStreams": self._describe_log_streams,
        }

    def answer(self, operation: str, request: Document) -> Document:
        """Answer a validated request; again when a file is rotated in the middle of it."""
        for _ in range(_TRIES - 1):
            try:
                return self.operations[operation](request)
            except files.Rotated:
                continue
        return self.operations[operation](request)

    def _filter_log_events(self, request: Document) -> Document:
        """Events of a group's streams, merged by time, the oldest first."""
        if not request.get("startFromHead", True):
            raise InvalidParameterException(
                "startFromHead false of FilterLogEvents is not supported by modelplex yet. "
                "GetLogEvents reads one stream from its end."
            )
        chosen, matches = self._chosen(request), pattern(request.get("filterPattern", ""))
        question = _question(request)
        after = _place(request.get("nextToken"), question)
        start, end = request.get("startTime", 0), request.get("endTime", _FOREVER_MS - 1) + 1
        merged = heapq.merge(
            *(stream.events(start, end, after) for stream in chosen), key=lambda event: event.id
        )
        found, last = _scan(merged, matches, request.get("limit", _EVENTS_MAX))
        events = [
            {"logStreamName": each.stream, **_plain(each), "eventId": each.id} for each in found
        ]
        more = {"nextToken": tokens.give(question, last)} if last else {}
        return {"events": events, "searchedLogStreams": [], **more}  # [] as the service nowadays

    def _get_log_events(self, request: Document) -> Document:
        """Events of one stream, a page forwards or backwards from a token or from an end."""
        stream = self._streams(request).get(request["logStreamName"])
        if stream is None:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        question = [self._group_name(request), stream.name]
        way, after = _direction(request, question)
        start, end = request.get("startTime", 0), request.get("endTime", _FOREVER_MS)
        limit = request.get("limit", _EVENTS_MAX)
        if way == "f":
            events = _fitting(islice(stream.events(start, end, after), limit))
        else:
            before = (event for event in stream.events(start, end) if not after or event.id < after)
            events = _fitting(reversed(deque(before, limit)))[::-1]
        first, last = (events[0].id, events[-1].id) if events else (after, after)
        return {
            "events": [_plain(event) for event in events],
            "nextForwardToken": "f/" + tokens.give(question, last),
            "nextBackwardToken": "b/" + tokens.give(question, first),
        }

    def _describe_log_groups(self, request: Document) -> Document:
        """Groups by name; `logGroupNamePattern` is a part of the name in any case."""
        prefix = request.get("logGroupNamePrefix", "")
        part = request.get("logGroupNamePattern", "").lower()
        if prefix and part:
            raise InvalidParameterException(
                "logGroupNamePrefix and logGroupNamePattern are mutually exclusive parameters."
            )
        names = [
            name
            for name in files.groups(self._root)
            if name.startswith(prefix) and part in name.lower() and self._is_asked(name, request)
        ]
        page, token = _page(names, request)
        return {"logGroups": [self._group(name) for name in page], **token}

    def _describe_log_streams(self, request: Document) -> Document:
        """Streams of a group by name, or by the time of their newest event."""
        by_time = request.get("orderBy") == "LastEventTime"
        prefix = request.get("logStreamNamePrefix", "")
        if by_time and prefix:
            raise InvalidParameterException(
                "Cannot order by LastEventTime with a logStreamNamePrefix."
            )
        found = self._streams(request)
        names = [name for name in found if name.startswith(prefix)]
        if by_time:
            names.sort(key=lambda name: (found[name].last_ms(), name))
        if request.get("descending"):
            names.reverse()
        page, token = _page(names, request)
        group = self._group_name(request)
        return {"logStreams": [self._described(group, found[name]) for name in page], **token}

    def _is_asked(self, name: str, request: Document) -> bool:
        """Whether a group is of the class and among the identifiers asked for, if any."""
        if request.get("logGroupClass", "STANDARD") != "STANDARD":
            return False
        return name in map(self._name, request.get("logGroupIdentifiers", [name]))

    def _name(self, identifier: str) -> str:
        """A group's name out of its name or ARN."""
        return identifier.removeprefix(self._arn(""))

    def _group_name(self, request: Document) -> str:
        given = [request[key] for key in ("logGroupName", "logGroupIdentifier") if key in request]
        if len(given) != 1:
            raise InvalidParameterException(
                "Exactly one of logGroupName and logGroupIdentifier must be given."
            )
        return self._name(given[0])

    def _streams(self, request: Document) -> dict[str, Stream]:
        folder = files.group_folder(self._root, self._group_name(request))
        if folder is None:
            raise ResourceNotFoundException("The specified log group does not exist.")
        return files.streams(folder)

    def _chosen(self, request: Document) -> list[Stream]:
        names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
        found = self._streams(request)
        if names is None:
            return [found[name] for name in found if name.startswith(prefix or "")]
        if prefix is not None:
            raise InvalidParameterException(
                "logStreamNames and logStreamNamePrefix are mutually exclusive parameters."
            )
        if any(name not in found for name in names):
            raise ResourceNotFoundException("The specified log stream does not exist.")
        return [found[name] for name in dict.fromkeys(names)]

    def _group(self, name: str) -> Document:
        folder = files.group_folder(self._root, name)
        found = files.streams(folder).values() if folder else ()
        starts = [t for stream in found if (t := stream.first_ms()) is not None]
        return {
            "logGroupName": name,
            "creationTime": min(starts, default=0),
            "metricFilterCount": 0,
            "arn": f"{self._arn(name)}:*",
            "logGroupArn": self._arn(name),
            "storedBytes": sum(stream.size_bytes() for stream in found),
            "logGroupClass": "STANDARD",
        }

    def _described(self, group: str, stream: Stream) -> Document:
        answer: Document = {
            "logStreamName": stream.name,
            "arn": f"{self._arn(group)}:log-stream:{stream.name}",
            "storedBytes": stream.size_bytes(),
        }
        if (first := stream.first_ms()) is not None:
            last = stream.last_ms()
            answer |= {"creationTime": first, "firstEventTimestamp": first}
            answer |= {"lastEventTimestamp": last, "lastIngestionTime": last}
        return answer


def _scan(events: Iterable[Event], matches: Match, limit: int) -> tuple[list[Event], str]:
    """Matching events, and the id after which to go on; "" when all were seen."""
    found: list[Event] = []
    size = 0
    for count, event in enumerate(events, 1):
        if matches(event.message):
            found.append(event)
            size += _size(event)
        if len(found) == limit or size >= _ANSWER_BYTES_MAX or count == _SCANNED_MAX:
            return found, event.id
    return found, ""


def _fitting(events: Iterable[Event]) -> list[Event]:
    """The first events that fit one answer, at least one if there is any."""
    found: list[Event] = []
    size = 0
    for event in events:
        size += _size(event)
        if found and size > _ANSWER_BYTES_MAX:
            break
        found.append(event)
    return found


def _size(event: Event) -> int:
    """What an event counts in an answer: the service adds 26 bytes to the message."""
    return len(event.message.encode()) + 26


def _page(names: list[str], request: Document) -> tuple[list[str], Document]:
    """A page of names, and the token of the next page if there is one."""
    question, limit = _question(request), request.get("limit", _NAMES_MAX)
    after = _place(request.get("nextToken"), question)
    if after and after not in names:
        raise InvalidParameterException(_BAD_TOKEN)
    begin = names.index(after) + 1 if after else 0
    page, rest = names[begin : begin + limit], names[begin + limit :]
    return page, {"nextToken": tokens.give(question, page[-1])} if rest else {}


def _question(request: Document) -> Document:
    return {key: value for key, value in request.items() if key not in ("nextToken", "limit")}


def _place(token: str | None, question: object) -> str:
    """The place that a token names; "" without one. Raises InvalidParameterException."""
    place = "" if token is None else tokens.read(token, question)
    if not isinstance(place, str):
        raise InvalidParameterException(_BAD_TOKEN)
    return place


def _direction(request: Document, question: object) -> tuple[str, str]:
    """Which way GetLogEvents goes ("f" or "b"), and from which event on ("": from the end)."""
    token = request.get("nextToken")
    if token is None:
        return ("f" if request.get("startFromHead") else "b"), ""
    way, _, rest = token.partition("/")
    if way not in ("f", "b"):
        raise InvalidParameterException(_BAD_TOKEN)
    return way, _place(rest, question)


def _plain(event: Event) -> Document:
    return {"timestamp": event.t, "message": event.message, "ingestionTime": event.t}
