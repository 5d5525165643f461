"""What of a container's memory is its own."""

from __future__ import annotations

from pathlib import Path

from modelplex.engine.memory import cgroup, used_bytes


def test_cached_files_are_left_out_where_the_engine_tells_of_them() -> None:
    """Both versions of cgroups; Podman gives the sum alone."""
    first = {"total_inactive_file": 20, "total_active_file": 10, "inactive_file": 1}
    assert used_bytes({"memory_stats": {"usage": 100, "stats": first}}) == 70
    second = {"inactive_file": 20, "active_file": 10}
    assert used_bytes({"memory_stats": {"usage": 100, "stats": second}}) == 70
    assert used_bytes({"memory_stats": {"usage": 100}}) == 100
    assert used_bytes({"memory_stats": {}}) == used_bytes({}) == 0


def test_a_number_that_means_another_process_here_gives_no_cgroup(tmp_path: Path) -> None:
    """As when the engine lives in other namespaces."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text("4:memory:/user.slice\n0::/user.slice\n")
    assert cgroup(7, "abc", tmp_path) is None
    assert cgroup(8, "abc", tmp_path) is None
