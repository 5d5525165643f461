"""Which version of a model answers to its name, which came before it, and which is to come.

Nearly all models have one version, whatever the store gave, and no `Track`: their name is their
key. A name has a track from when another version is heard of, and `succession` moves it on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from modelplex.core.keys import key_of, name_of, version_of

REJECTED_MAX = 16  # versions per name that are not tried again; the oldest is forgotten first
PAUSE_MIN_S, PAUSE_MAX_S = 1.0, 60.0  # before a candidate that could not be had is tried again


class Standing(Enum):
    """What a version is to its name."""

    SERVING = "serving"
    CANDIDATE = "candidate"
    PREVIOUS = "previous"
    REPLACED = "replaced"  # on its way out


@dataclass(slots=True, eq=False)
class Track:
    """The versions of one name, by their keys; "" where there is none."""

    name: str
    serving: str
    previous: str = ""  # on the disk, for going back at once
    candidate: str = ""
    back: bool = False  # the candidate is the one before: the one that serves is not wanted
    tries: int = 0  # of the candidate, that had to be put off
    retry_at: float = 0.0  # when it is tried again; 0.0: it is not put off
    problem: object = None  # why it was put off
    rejected: dict[str, object] = field(default_factory=dict)  # version -> why

    @property
    def bare(self) -> bool:
        """Whether it says no more than its absence would, but for what was rejected."""
        return not (self.previous or self.candidate or self.serving != self.name)

    def reject(self, version: str, failure: object) -> None:
        """Remember not to try a version again."""
        if version:
            self.rejected[version] = failure
            if len(self.rejected) > REJECTED_MAX:
                del self.rejected[next(iter(self.rejected))]

    def put_off(self, problem: object, now: float) -> None:
        """Let the candidate rest, each time twice as long as the last."""
        pause_s = min(PAUSE_MIN_S * 2**self.tries, PAUSE_MAX_S)
        self.tries = min(self.tries + 1, 10)
        self.problem, self.retry_at = problem, now + pause_s

    def propose(self, key: str, back: bool = False) -> None:
        """Have another candidate, or with "" none."""
        self.candidate, self.back = key, back
        self.tries, self.retry_at, self.problem = 0, 0.0, None


class Versions:
    """The tracks of one instance, and what the store calls the artifacts on its disk."""

    def __init__(self, tracks_max: int) -> None:
        """`tracks_max`: of names of which only rejected versions are remembered."""
        self.tracks: dict[str, Track] = {}
        self.known: dict[str, str] = {}  # key -> version, where the store said one
        self.waiting: dict[str, Track] = {}  # those whose candidate is put off
        self._tracks_max = tracks_max

    def serving(self, name: str) -> str:
        """The key of the version that answers to a name."""
        track = self.tracks.get(name)
        return name if track is None else track.serving

    def of(self, key: str) -> Track | None:
        """The track that a key is on."""
        return self.tracks.get(name_of(key)) if self.tracks else None

    def standing(self, key: str) -> Standing:
        """What a key is to its name."""
        track = self.of(key)
        if key == (name_of(key) if track is None else track.serving):
            return Standing.SERVING
        if track is not None and key == track.candidate:
            return Standing.CANDIDATE
        if track is not None and key == track.previous:
            return Standing.PREVIOUS
        return Standing.REPLACED

    def is_kept(self, key: str) -> bool:
        """Whether an artifact may stay on the disk."""
        track = self.of(key)
        rejected = track is not None and self.version(key) in track.rejected
        return not rejected and self.standing(key) is not Standing.REPLACED

    def incumbent(self, key: str) -> str:
        """The key that serves while this one, a candidate, is brought beside it; else ""."""
        track = self.of(key)
        return track.serving if track is not None and track.candidate == key else ""

    def version(self, key: str) -> str:
        """What the store calls this version; "" if that is not known."""
        return version_of(key) or self.known.get(key, "")

    def is_news(self, name: str, version: str) -> bool:
        """Whether a version in the store is neither here, nor under way, nor rejected."""
        track = self.tracks.get(name)
        if track is None:
            return self.known.get(name) != version
        current = {self.version(track.serving), self.version(track.candidate or track.serving)}
        return not (track.back or version in current or version in track.rejected)

    def track(self, name: str) -> Track:
        """The track of a name, from now on."""
        found = self.tracks.get(name)
        if found is None:
            self._bound()
            found = self.tracks[name] = Track(name, name)
        return found

    def key_for(self, track: Track, version: str) -> str:
        """The key of a version: that of the one before if it is the same."""
        if track.previous and self.version(track.previous) == version:
            return track.previous
        return key_of(track.name, version)

    def unversioned(self, track: Track) -> str:
        """A key for whatever the store has now, while the name's plain key may be in use."""
        return track.name if track.previous != track.name else key_of(track.name, "")

    def tidy(self, track: Track) -> None:
        """Forget a track that says nothing any more."""
        self.waiting.pop(track.name, None)
        if track.retry_at:
            self.waiting[track.name] = track
        elif track.bare and not track.rejected:
            self.tracks.pop(track.name, None)

    def retry_times(self) -> Iterator[float]:
        """When the candidates that were put off are due."""
        return (track.retry_at for track in self.waiting.values())

    def _bound(self) -> None:
        if len(self.tracks) >= self._tracks_max:
            bare = (name for name, track in self.tracks.items() if track.bare)
            if (name := next(bare, None)) is not None:
                del self.tracks[name]
