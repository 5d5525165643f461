"""The cold path: from a request to its answer for a model that is nowhere, or on the disk only.

    python -m benchmarks cold          all of it, about ten minutes

Three sides take turns, model by model, with archives that nobody has seen: the whole platform over
its store (signatures and all); Multi Model Server 1.1.11 (`theirs.py` says how it is fed); and the
floor, which is the bytes from the store, thrown away, and the handler's own work in a warm process
(`floor.py`). The stores are the embedded rclone and, where it is installed, radosgw.
MODELPLEX_COLD names some of the cases, e.g. "echo,50 MB", and MODELPLEX_COLD_ROUNDS how often.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import model_server
from benchmarks.cold import floor, ours, theirs
from benchmarks.cold.cases import CASES, Archives, Case, make_files
from benchmarks.cold.inflating import speeds
from benchmarks.cold.report import Round, Seen, tables
from modelplex.archives.inflate import NAME as INFLATE
from tests.support.radosgw import Radosgw, missing_programs

ROUNDS, ROUNDS_LARGE = 10, 3
SETTLE_S = 8.0  # in which a zygote imports what its first model imported

_METHOD = """\
Medians of {rounds} rounds ({large} of large archives), sides in turn, every archive new. Nowhere:
the model is fetched; disk: its process was killed, its files are there. Inflate: {inflate}.
Floor: the store's bytes read and thrown away (nowhere only), and load and first answer in a
process that has the framework. MMS: downloaded and unpacked by its client, `POST /models`, asked.
"""


def run() -> str:
    """Measure; a Markdown section."""
    missing = [] if shutil.which("java") else ["java"]
    missing += [] if model_server.PEERS.is_dir() else ["make peers"]
    if missing:
        return f"## Cold path\n\nNot measured: needs {', '.join(missing)}.\n"
    cases = _cases()
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        home = Path(folder)
        make_files(home / "made")
        archives = {case: Archives(case, home / "made") for case in cases}
        seen = [each for store in _stores() for each in _over(store, home / store, archives)]
    method = _METHOD.format(rounds=_rounds(CASES[0]), large=_rounds(CASES[-1]), inflate=INFLATE)
    return "\n".join(["## Cold path", "", method, tables(seen), speeds(archives)])


def _cases() -> list[Case]:
    wanted = os.environ.get("MODELPLEX_COLD", "")
    return [case for case in CASES if not wanted or case.name in wanted.split(",")]


def _rounds(case: Case) -> int:
    asked = int(os.environ.get("MODELPLEX_COLD_ROUNDS", "0"))
    return asked or (ROUNDS_LARGE if case.large else ROUNDS)


def _stores() -> list[str]:
    return ["rclone"] if missing_programs() else ["rclone", "radosgw"]


def _over(store: str, home: Path, archives: dict[Case, Archives]) -> list[Seen]:
    """All cases over one store."""
    home.mkdir()
    (home / "models").mkdir()
    kinds = list(dict.fromkeys(case.kind for case in archives))
    with ExitStack() as stack:
        options: list[str] = []
        if store == "radosgw":
            gateway = Radosgw(home / "ceph")
            gateway.folder.mkdir()
            gateway.start()
            stack.callback(gateway.stop)
            options = gateway.options
        platform = stack.enter_context(ours.running(home, kinds, options))
        binary = model_server.PEERS / "bin/multi-model-server"
        peer = stack.enter_context(model_server.running("MMS", binary, home / "models"))
        sides = _Sides(platform, peer, stack.enter_context(floor.warm()), home / "models")
        return [sides.measure(store, case, archives[case]) for case in archives]


class _Sides:
    """What takes turns."""

    def __init__(
        self, platform: ours.Ours, peer: model_server.Side, warm: floor.Warm, models: Path
    ) -> None:
        self._platform = platform
        self._peer = peer
        self._warm = warm
        self._models = models
        self._known: set[str] = set()

    def measure(self, store: str, case: Case, archives: Archives) -> Seen:
        """All rounds of one case, after a first one that counts for nobody."""
        say = sys.stderr.write
        say(f"cold: {store}, {case.name}: getting known\n")
        if case.kind not in self._known:
            self._round(case, archives, "known")
            self._known.add(case.kind)
            time.sleep(SETTLE_S)
        rounds = []
        for number in range(_rounds(case)):
            say(f"cold: {store}, {case.name}: round {number + 1} of {_rounds(case)}\n")
            rounds.append(self._round(case, archives, str(number)))
        return Seen(store, case.name, rounds)

    def _round(self, case: Case, archives: Archives, number: str) -> Round:
        name = f"{case.name.replace(' ', '-').replace(',', '')}-{number}".lower()
        name = "".join(letter for letter in name if letter.isalnum() or letter == "-")
        key, folder, bucket = f"{name}.tar.gz", self._models / name, self._platform.bucket(case)
        self._platform.put(case, key, archives.another())
        cold = self._platform.ask(case, key, "cold")
        self._platform.forget(case, key)
        disk = self._platform.ask(case, key, "disk")
        self._platform.forget(case, key)
        fetched = theirs.fetch(bucket, key, folder)
        their_cold = theirs.load(self._peer, case, name, folder)
        their_disk = theirs.load(self._peer, case, name, folder)
        streamed, answered = floor.stream_ms(bucket, key), self._warm.answer(case, folder)
        theirs.remove(folder)
        whole = sum(fetched.values()) + sum(their_cold.values())
        return Round(cold, disk, whole, sum(their_disk.values()), streamed + answered, answered)
