"""Read-only files of models are so for everybody, root included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import modelplex

CODE = """
import subprocess, sys
from modelplex.runtime import permissions
permissions.obey()
permissions.obey()
for mode in ("rb", "ab", "r+b"):
    try:
        open(sys.argv[1], mode).close()
        print(mode)
    except PermissionError:
        print("refused")
shell = ["sh", "-c", "echo more >> " + sys.argv[1]]
print(subprocess.run(shell, stderr=subprocess.DEVNULL).returncode)
open(sys.argv[2], "w").close()
"""


def test_nobody_writes_into_a_read_only_file(tmp_path: Path) -> None:
    """Nor does a program that is started later; other files are written as ever."""
    sealed = tmp_path / "sealed"
    sealed.write_text("as it was")
    sealed.chmod(0o444)
    home = str(Path(modelplex.__file__).parents[1])
    command = [sys.executable, "-c", CODE, str(sealed), str(tmp_path / "other")]
    done = subprocess.run(command, env={"PYTHONPATH": home}, capture_output=True, text=True)
    assert done.stdout.split() == ["rb", "refused", "refused", "2"], done.stderr
    assert sealed.read_text() == "as it was"
