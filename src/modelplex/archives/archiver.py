"""The command `model-archiver`: packs a folder into a model archive, as model-archiver 1.0 does.

    NAME.mar      zip, the manifest in MAR-INF/           (--archive-format default)
    NAME.tar.gz   everything in the folder NAME/          (tgz)
    NAME/         a copy of the files and the manifest    (no-archive)

An archive takes its name when it is whole, by one rename. Source of options, names and of what is
left out: its README and arg_parser.py.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modelplex.archives import manifest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]*")
ENDINGS = {"default": ".mar", "tgz": ".tar.gz", "no-archive": ""}
LEFT_OUT = ("MANIFEST.json", "__MACOSX", "__pycache__")
LEFT_OUT_ENDINGS = (".pyc", ".mar")

Files = list[tuple[Path, str]]  # where a file is, and its name in the archive


class Unpackable(Exception):
    """What cannot be packed; the text says why and what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status: 1 if nothing was packed, with the reason on stderr."""
    options = _parser().parse_args(argv)
    try:
        target = archive(options)
    except (Unpackable, OSError, ValueError) as error:
        print(f"model-archiver: {error}", file=sys.stderr)
        return 1
    print(f"Exported model {options.model_name} to {target}")
    return 0


def archive(options: argparse.Namespace) -> Path:
    """Pack the model; returns the archive. Raises Unpackable, OSError, ValueError (a date)."""
    source, target = _check(options)
    if options.convert:
        _refuse_onnx(source)
    text = manifest.text(options.model_name, options.handler, options.runtime)
    if options.archive_format == "no-archive" and source == target:
        _put_manifest(target, text)
        return target
    files = list(_files(source, target))
    work = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        PACKERS[options.archive_format](work, files, text)
        _rename(work, target)
    finally:
        _remove(work)
    return target


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("model-archiver", description="Pack a model for serving.")
    add = parser.add_argument
    add("--model-name", required=True, help="name of the model, and of the archive")
    add("--model-path", required=True, type=Path, help="folder with all files of the model")
    add("--handler", required=True, help="MODULE[:FUNCTION] that serves the model")
    add("--runtime", default="python", choices=manifest.RUNTIMES, help="default: python")
    add("--export-path", default=Path(), type=Path, help="folder of the archive (default: here)")
    add("--archive-format", default="default", choices=ENDINGS, help="default: a .mar file")
    add("-f", "--force", action="store_true", help="replace an archive of the same name")
    add("-c", "--convert", action="store_true", help="refuse .onnx files, which MXNet converted")
    return parser


def _check(options: argparse.Namespace) -> tuple[Path, Path]:
    """The folder to pack and the archive to make, both absolute."""
    if not NAME.fullmatch(options.model_name):
        raise Unpackable(
            f"--model-name {options.model_name!r} must begin with a letter or digit, and hold only "
            "letters, digits, '_', '-' and '.'."
        )
    for option, folder in (("model", options.model_path), ("export", options.export_path)):
        if not folder.is_dir():
            raise Unpackable(f"--{option}-path {folder} is not a folder.")
    source, export = options.model_path.resolve(), options.export_path.resolve()
    target: Path = export / f"{options.model_name}{ENDINGS[options.archive_format]}"
    if os.path.lexists(target) and not options.force:
        raise Unpackable(f"{target} already exists; replace it with --force.")
    return source, target


def _refuse_onnx(source: Path) -> None:
    for found in source.glob("*.onnx"):
        raise Unpackable(
            f"--convert cannot make an MXNet model of {found.name}: MXNet no longer reads ONNX. "
            "Pack it without --convert, with a handler that uses onnxruntime."
        )


def _files(source: Path, target: Path) -> Iterator[tuple[Path, str]]:
    """Every file that belongs into the archive, in order; links are followed to files."""
    for root, folders, names in os.walk(source):
        here = Path(root)
        folders[:] = sorted(each for each in folders if _belongs(each) and here / each != target)
        for folder in folders:
            if (here / folder).is_symlink():
                raise Unpackable(f"{here / folder} is a link to a folder; put the files there.")
        for name in sorted(names):
            path = here / name
            if not _belongs(name) or path == target:
                continue
            if not path.is_file():
                raise Unpackable(f"{path} is no file, or a link to none.")
            yield path, str(path.relative_to(source))


def _belongs(name: str) -> bool:
    hidden = name.startswith(".")
    return not hidden and name not in LEFT_OUT and not name.endswith(LEFT_OUT_ENDINGS)


def _zip(work: Path, files: Files, text: str) -> None:
    with zipfile.ZipFile(work, "x", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
        for path, name in files:
            packed.write(path, name)
        packed.writestr(str(manifest.PLACE), text)


def _tar(work: Path, files: Files, text: str) -> None:
    top = work.name.removeprefix(".").rpartition(".tar.gz.")[0]
    with tarfile.open(work, "x:gz", dereference=True) as packed:
        for path, name in files:
            packed.add(path, f"{top}/{name}")
        entry, data = tarfile.TarInfo(f"{top}/{manifest.PLACE}"), text.encode()
        entry.size = len(data)
        packed.addfile(entry, io.BytesIO(data))


def _copy(work: Path, files: Files, text: str) -> None:
    work.mkdir()
    for path, name in files:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / name)
    _put_manifest(work, text)


PACKERS: dict[str, Callable[[Path, Files, str], None]] = {
    "default": _zip,
    "tgz": _tar,
    "no-archive": _copy,
}


def _put_manifest(folder: Path, text: str) -> None:
    place = folder / manifest.PLACE
    place.parent.mkdir(exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    part.write_text(text)
    part.replace(place)


def _rename(work: Path, target: Path) -> None:
    """Give the whole archive its name; a folder that has it is moved away first."""
    if target.is_dir() and not target.is_symlink():
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        work.rename(target)
        shutil.rmtree(old)
    else:
        work.replace(target)


def _remove(work: Path) -> None:
    """What is left of an archive that was not finished."""
    if work.is_dir():
        shutil.rmtree(work)
    else:
        work.unlink(missing_ok=True)
