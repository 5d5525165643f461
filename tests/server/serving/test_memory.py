"""How much a load may take, read from trees that look like /proc and /sys."""

from __future__ import annotations

from pathlib import Path

from modelplex.server.serving import memory
from modelplex.server.serving.memory import MIB, RESERVE_BYTES

UNLIMITED = 9223372036854771712  # what version 1 says for "no limit"


def machine(root: Path, groups: str, files: dict[str, str] | None = None) -> Path:
    """A machine of 1000 MiB with 800 available."""
    written = {
        "proc/meminfo": f"MemTotal: {1000 * 1024} kB\nMemAvailable: {800 * 1024} kB\n",
        "proc/self/cgroup": groups,
        **(files or {}),
    }
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version2(name: str, limit: str, current: int, cache: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/{name}".rstrip("/")
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": str(current),
        f"{folder}/memory.stat": f"anon 1\ninactive_file {cache}\n",
    }


def version1(name: str, limit: int, usage: int, cache: int = 0) -> dict[str, str]:
    folder = f"sys/fs/cgroup/memory/{name}".rstrip("/")
    return {
        f"{folder}/memory.limit_in_bytes": str(limit),
        f"{folder}/memory.usage_in_bytes": str(usage),
        f"{folder}/memory.stat": f"cache 1\ntotal_inactive_file {cache}\n",
    }


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    """A kernel without control groups."""
    machine(tmp_path, "")
    assert memory.left_bytes(tmp_path) == 800 * MIB
    assert memory.total_bytes(tmp_path) == 1000 * MIB


def test_version_2(tmp_path: Path) -> None:
    """The limit less what is used; file pages that can be dropped are not used."""
    machine(tmp_path, "0::/\n", version2("", str(300 * MIB), 200 * MIB, 50 * MIB))
    assert memory.left_bytes(tmp_path) == 150 * MIB
    assert memory.total_bytes(tmp_path) == 300 * MIB


def test_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    """A group without a limit is in one that has one."""
    inner = version2("a/b", "max", 10 * MIB)
    machine(tmp_path, "0::/a/b\n", inner | version2("a", str(100 * MIB), 40 * MIB))
    assert memory.left_bytes(tmp_path) == 60 * MIB


def test_version_1(tmp_path: Path) -> None:
    """Inside a container the group's path is not there, and the container's group is the root."""
    files = version1("", 400 * MIB, 390 * MIB, 5 * MIB)
    machine(tmp_path, "4:memory:/docker/abc\n1:cpu:/docker/abc\n0::/docker/abc\n", files)
    assert memory.left_bytes(tmp_path) == 15 * MIB


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    """Its number for that is larger than any machine."""
    machine(tmp_path, "4:cpu,memory:/\n", version1("", UNLIMITED, 500 * MIB))
    assert memory.left_bytes(tmp_path) == 800 * MIB
    assert memory.total_bytes(tmp_path) == 1000 * MIB


def test_a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    """The limit may have been lowered."""
    machine(tmp_path, "0::/\n", version2("", str(100 * MIB), 150 * MIB))
    assert memory.left_bytes(tmp_path) == 0
    assert memory.room_bytes(0, 0, tmp_path) == 0


def test_room_is_what_is_left_or_what_is_configured(tmp_path: Path) -> None:
    """Less a reserve; a configured limit less what models hold, but never more than there is."""
    machine(tmp_path, "")
    left = 800 * MIB - RESERVE_BYTES
    assert memory.room_bytes(0, 700 * MIB, tmp_path) == left
    assert memory.room_bytes(500 * MIB, 100 * MIB, tmp_path) == 400 * MIB
    assert memory.room_bytes(500 * MIB, 600 * MIB, tmp_path) == 0
    assert memory.room_bytes(5000 * MIB, 0, tmp_path) == left


def test_this_machine_can_be_read() -> None:
    """Whatever it has."""
    assert 0 < memory.left_bytes() <= memory.total_bytes()
