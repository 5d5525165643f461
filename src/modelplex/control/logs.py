"""CloudWatch Logs over the log folders: what `aws logs tail` and the paginators ask.

`logfiles.py` says how names map to files. A filter pattern is made of terms: `word` and
`"a phrase"` must all be in the line, `-word` must not, and of `?word ?other` at least one must;
case matters. Patterns over JSON fields (`{…}`), over columns (`[…]`) and regular expressions
(`%…%`) are refused.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path

from modelplex.aws import arns
from modelplex.aws.errors import InvalidParameterException, ResourceNotFoundException
from modelplex.control import listing, logfiles
from modelplex.control.logfiles import Event, Stream
from modelplex.control.records import Document
from modelplex.settings import Settings

_FOREVER_MS = 10**14 - 1
_SCANNED_MAX = 100_000  # lines looked at per call; then the call answers with a token
_ANSWER_BYTES_MAX = 1024 * 1024  # of events per call, as the service's
_TERM = re.compile(r'([?-]?)(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_RETRIES = 5  # of one call, when a file is rotated while it is read

Match = Callable[[str], bool]


class Logs:
    """The log groups of one data folder. All functions read files: call them in a thread."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._root = root
        self._arn = partial(arns.log_group_arn, settings.account, settings.region)
        self.operations: dict[str, Callable[[Document], Document]] = {
            "FilterLogEvents": self.filter_log_events,
            "GetLogEvents": self.get_log_events,
            "DescribeLogGroups": self.describe_log_groups,
            "DescribeLogStreams": self.describe_log_streams,
        }

    def answer(self, operation: str, request: Document) -> Document:
        """Answer a call; once more when a file is rotated in the middle of it."""
        for _ in range(_RETRIES):
            try:
                return self.operations[operation](request)
            except logfiles.Rotated:
                continue
        return self.operations[operation](request)

    def filter_log_events(self, request: Document) -> Document:
        """Events of a group's streams, merged by time, the oldest first."""
        if not request.get("startFromHead", True):
            raise InvalidParameterException(
                "startFromHead false of FilterLogEvents is not supported by modelplex yet. "
                "GetLogEvents reads one stream from its end."
            )
        chosen = self._chosen(request)
        matches = pattern(request.get("filterPattern", ""))
        digest = _digest(request)
        after = _place(request, digest)
        start, end = request.get("startTime", 0), request.get("endTime", _FOREVER_MS - 1) + 1
        merged = heapq.merge(
            *(stream.events(start, end, after) for stream in chosen), key=lambda event: event.id
        )
        found, last = _scan(merged, matches, request.get("limit", 10_000))
        answer: Document = {"events": [_filtered(event) for event in found]}
        answer["searchedLogStreams"] = []  # as the service answers nowadays
        if last is not None:
            answer["nextToken"] = listing.token(digest, last)
        return answer

    def get_log_events(self, request: Document) -> Document:
        """Events of one stream, a page forwards or backwards from a token or from an end."""
        stream = self._stream(request)
        digest = _digest({"group": self._group_name(request), "stream": stream.name})
        way, after = _direction(request, digest)
        start, end = request.get("startTime", 0), request.get("endTime", _FOREVER_MS)
        limit = request.get("limit", 10_000)
        if way == "f":
            events = _fitting(islice(stream.events(start, end, after), limit))
        else:
            before = (event for event in stream.events(start, end) if not after or event.id < after)
            events = _fitting(reversed(deque(before, limit)))[::-1]
        first, last = (events[0].id, events[-1].id) if events else (after, after)
        return {
            "events": [_plain(event) for event in events],
            "nextForwardToken": "f/" + listing.token(digest, last),
            "nextBackwardToken": "b/" + listing.token(digest, first),
        }

    def describe_log_groups(self, request: Document) -> Document:
        """Groups by name; `logGroupNamePattern` is a part of the name in any case."""
        prefix = request.get("logGroupNamePrefix", "")
        part = request.get("logGroupNamePattern", "").lower()
        if prefix and part:
            raise InvalidParameterException(
                "logGroupNamePrefix and logGroupNamePattern are mutually exclusive parameters."
            )
        names = [
            name
            for name in logfiles.groups(self._root)
            if name.startswith(prefix) and part in name.lower() and self._is_asked(name, request)
        ]
        page, token = _page(names, request, 50)
        return {"logGroups": [self._group(name) for name in page], **token}

    def describe_log_streams(self, request: Document) -> Document:
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
        page, token = _page(names, request, 50)
        group = self._group_name(request)
        return {"logStreams": [self._described(group, found[name]) for name in page], **token}

    def _is_asked(self, name: str, request: Document) -> bool:
        """Whether a group is of the class and among the identifiers asked for, if any."""
        identifiers = request.get("logGroupIdentifiers")
        if identifiers is not None and name not in map(self._name, identifiers):
            return False
        return bool(request.get("logGroupClass", "STANDARD") == "STANDARD")

    def _name(self, identifier: str) -> str:
        """A group's name out of its name or ARN."""
        return identifier.removeprefix(self._arn(""))

    def _group_name(self, request: Document) -> str:
        name: str | None = request.get("logGroupName")
        identifier: str | None = request.get("logGroupIdentifier")
        if (name is None) == (identifier is None):
            raise InvalidParameterException(
                "Exactly one of logGroupName and logGroupIdentifier must be given."
            )
        if identifier is None:
            return str(name)
        return self._name(identifier)

    def _streams(self, request: Document) -> dict[str, Stream]:
        folder = logfiles.group_folder(self._root, self._group_name(request))
        if folder is None:
            raise ResourceNotFoundException("The specified log group does not exist.")
        return logfiles.streams(folder)

    def _stream(self, request: Document) -> Stream:
        stream = self._streams(request).get(request["logStreamName"])
        if stream is None:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        return stream

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
        folder = logfiles.group_folder(self._root, name)
        found = logfiles.streams(folder) if folder else {}
        starts = [t for stream in found.values() if (t := stream.first_ms()) is not None]
        return {
            "logGroupName": name,
            "creationTime": min(starts, default=0),
            "metricFilterCount": 0,
            "arn": f"{self._arn(name)}:*",
            "logGroupArn": self._arn(name),
            "storedBytes": sum(stream.size_bytes() for stream in found.values()),
            "logGroupClass": "STANDARD",
        }

    def _described(self, group: str, stream: Stream) -> Document:
        answer: Document = {
            "logStreamName": stream.name,
            "arn": f"{self._arn(group)}:log-stream:{stream.name}",
            "storedBytes": stream.size_bytes(),
        }
        first = stream.first_ms()
        if first is not None:
            last = stream.last_ms()
            answer |= {"creationTime": first, "firstEventTimestamp": first}
            answer |= {"lastEventTimestamp": last, "lastIngestionTime": last}
        return answer


def pattern(text: str) -> Match:
    """A filter pattern as a test of lines. Raises InvalidParameterException for other kinds."""
    if text.strip()[:1] in ("{", "[", "%"):
        raise InvalidParameterException(
            f"The filter pattern '{text}' is of a kind that modelplex does not support. "
            'Supported are words, "phrases", -word (not) and ?word ?other (any).'
        )
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    for sign, phrase, word in _TERM.findall(text):
        term = re.sub(r"\\(.)", r"\1", phrase) if phrase else word
        if term:
            terms[sign].append(term)
    every, none, some = terms[""], terms["-"], terms["?"]
    if some and (every or none):
        raise InvalidParameterException(
            f"The filter pattern '{text}' mixes ?word with other terms, which has no clear meaning."
        )
    return lambda line: (
        all(term in line for term in every)
        and not any(term in line for term in none)
        and (not some or any(term in line for term in some))
    )


def _scan(events: Iterable[Event], matches: Match, limit: int) -> tuple[list[Event], str | None]:
    """Matching events, and the id after which to go on; None when all were seen."""
    found: list[Event] = []
    size = 0
    for count, event in enumerate(events, 1):
        if matches(event.message):
            found.append(event)
            size += _size(event)
        if len(found) == limit or size >= _ANSWER_BYTES_MAX or count == _SCANNED_MAX:
            return found, event.id
    return found, None


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


def _page(names: list[str], request: Document, most: int) -> tuple[list[str], Document]:
    """A page of names, and the token of the next page if there is one."""
    digest, limit = _digest(request), request.get("limit", most)
    after = _place(request, digest)
    if after and after not in names:
        raise InvalidParameterException("The specified nextToken is invalid.")
    begin = names.index(after) + 1 if after else 0
    page = names[begin : begin + limit]
    more = begin + limit < len(names)
    return page, {"nextToken": listing.token(digest, page[-1])} if more else {}


def _digest(request: Document) -> str:
    question = {k: v for k, v in request.items() if k not in ("nextToken", "limit")}
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]


def _place(request: Document, digest: str) -> str:
    token = request.get("nextToken")
    if token is None:
        return ""
    place = listing.position(token, digest)
    if not isinstance(place, str):
        raise InvalidParameterException("The specified nextToken is invalid.")
    return place


def _direction(request: Document, digest: str) -> tuple[str, str]:
    """Which way GetLogEvents goes ("f" or "b"), and from which event on ("": from the end)."""
    token = request.get("nextToken")
    if token is None:
        return ("f" if request.get("startFromHead") else "b"), ""
    way, _, rest = token.partition("/")
    if way not in ("f", "b"):
        raise InvalidParameterException("The specified nextToken is invalid.")
    return way, _place({"nextToken": rest}, digest)


def _plain(event: Event) -> Document:
    return {"timestamp": event.t, "message": event.message, "ingestionTime": event.t}


def _filtered(event: Event) -> Document:
    return {"logStreamName": event.stream, **_plain(event), "eventId": event.id}
