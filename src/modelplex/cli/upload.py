"""Model artifacts of a local folder, packed where they need it, in the account's own bucket."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ARCHIVE = ".tar.gz"
_IGNORED = {"__pycache__", ".git", ".DS_Store"}


def default_bucket(region: str, account: str) -> str:
    """The bucket that SageMaker's own SDK uses by default."""
    return f"sagemaker-{region}-{account}"


def artifacts(folder: Path) -> dict[str, Path]:
    """Key below the prefix -> archive, or folder still to be packed.

    Archives keep their place; a folder at the top without any archive in it is one model.
    Raises ClickException if there is no model.
    """
    found = {str(path.relative_to(folder)): path for path in folder.rglob(f"*{ARCHIVE}")}
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _IGNORED and not any(path.rglob(f"*{ARCHIVE}")):
            found[path.name + ARCHIVE] = path
    if not found:
        raise click.ClickException(f"{folder} has neither {ARCHIVE} archives nor model folders.")
    return dict(sorted(found.items()))


def single_artifact(path: Path) -> dict[str, Path]:
    """One archive, or one folder to be packed, for a single-model endpoint."""
    return {path.name if path.is_file() else "model" + ARCHIVE: path}


def send(
    client: Any,
    bucket: str,
    prefix: str,
    found: dict[str, Path],
    on_sent: Callable[[str, int], None],
) -> None:
    """Upload everything under s3://bucket/prefix/, which is made if it is not there."""
    _make_bucket(client, bucket)
    with tempfile.TemporaryDirectory() as temporary:
        for key, path in found.items():
            archive = path if path.is_file() else _pack(path, Path(temporary) / "model")
            client.upload_file(str(archive), bucket, f"{prefix}/{key}")
            on_sent(key, archive.stat().st_size)


def delete(client: Any, bucket: str, prefix: str) -> int:
    """Delete every object under a prefix; how many."""
    count = 0
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        if found := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            client.delete_objects(Bucket=bucket, Delete={"Objects": found})
            count += len(found)
    return count


def _pack(folder: Path, target: Path) -> Path:
    """The folder's content at the top of an archive."""
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(
                path, path.name, filter=lambda m: None if Path(m.name).name in _IGNORED else m
            )
    return target


def _make_bucket(client: Any, bucket: str) -> None:
    if bucket in {each["Name"] for each in client.list_buckets()["Buckets"]}:
        return
    region = client.meta.region_name
    place = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=bucket, **({} if region == "us-east-1" else place))
