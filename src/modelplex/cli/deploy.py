"""`modelplex deploy`: from a folder or prefix of models to an endpoint in service."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from modelplex.cli import target as targets
from modelplex.cli import upload
from modelplex.cli.output import data_option, json_option, show_json
from modelplex.cli.progress import Progress
from modelplex.cli.target import Target

TAG = "modelplex:deploy"  # on what `deploy` makes, so that `delete` knows it
_POLL_S = 0.2
_WAIT_S = 900.0  # for the endpoint; the platform itself gives up earlier


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    name: str
    image: str
    instances: int
    instance_type: str
    environment: dict[str, str]
    single: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where the models lie: ModelDataUrl, and what has to be uploaded into `bucket` for that."""

    url: str
    bucket: str
    files: dict[str, Path]  # key below the endpoint's name -> archive, or folder to be packed


@click.command()
@click.argument("name")
@click.option("--image", required=True, help="Its name: see `modelplex images`.")
@click.option(
    "--models",
    required=True,
    help="s3://BUCKET/PREFIX/, or a folder of .tar.gz archives or model folders to upload.",
)
@click.option("--instances", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--instance-type", default="ml.m5.xlarge", show_default=True)
@click.option("--env", "pairs", multiple=True, metavar="NAME=VALUE", help="For the handlers.")
@click.option("--single", is_flag=True, help="One model: --models is one archive or its folder.")
@data_option
@json_option
def deploy(
    *,
    name: str,
    image: str,
    models: str,
    instances: int,
    instance_type: str,
    pairs: tuple[str, ...],
    single: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """Create an endpoint over models and wait until it is in service."""
    wish = Wish(name, image, instances, instance_type, _environment(pairs), single)
    target = targets.find(data)
    with targets.speaking(target):
        if name in targets.endpoint_names(target):  # before anything is uploaded
            raise click.ClickException(
                f"There is an endpoint {name} already: delete it first, or choose another name."
            )
        account = target.client("sts").get_caller_identity()["Account"]
        with Progress() as progress:
            source = _source(target, wish, models, account)
            endpoint = _create(target, wish, source, account, progress)
    if as_json:
        show_json(endpoint)
        return
    example = "" if single else " MODEL"
    click.echo(f"{name} is in service. Try: modelplex invoke {name}{example} < FILE")


def _environment(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise click.BadParameter(f"{pair!r}: write NAME=VALUE.", param_hint="--env")
    return dict(pair.split("=", 1) for pair in pairs)


def _source(target: Target, wish: Wish, models: str, account: str) -> Source:
    """Where the models are or will be; raises ClickException for a folder without any."""
    if models.startswith(("s3://", "https://", "file://")):
        return Source(models, "", {})
    path = Path(models)
    if not path.is_dir() and not (wish.single and path.is_file()):
        raise click.ClickException(
            f"--models {models}: no such folder; write s3://BUCKET/PREFIX/ for models in a store."
        )
    found = upload.single_artifact(path) if wish.single else upload.artifacts(path)
    bucket = upload.default_bucket(target.client("s3").meta.region_name, account)
    last = next(iter(found)) if wish.single else ""
    return Source(f"s3://{bucket}/{wish.name}/{last}", bucket, found)


def _upload(client: Any, wish: Wish, source: Source, progress: Progress) -> None:
    sent: list[str] = []

    def on_sent(key: str, size_bytes: int) -> None:
        sent.append(key)
        count = f"{len(sent)} of {len(source.files)}"
        progress.show("uploading", f"{count}: {key} ({size_bytes:,} bytes)")

    if source.files:
        try:
            upload.send(client, source.bucket, wish.name, source.files, on_sent)
        except KeyboardInterrupt:
            raise click.Abort from None  # without the endpoint, nothing is worth keeping


def _create(
    target: Target, wish: Wish, source: Source, account: str, progress: Progress
) -> dict[str, Any]:
    """Model, configuration and endpoint; whatever was made is deleted again if one fails.

    Local models are uploaded before the endpoint is made, but after all that can be refused.
    """
    client = target.client("sagemaker")
    suffix = time.strftime("%Y%m%d-%H%M%S") + "-" + secrets.token_hex(2)
    inner = f"{wish.name[: 62 - len(suffix)].rstrip('-')}-{suffix}"
    tags = [{"Key": TAG, "Value": wish.name}]
    with _undone_on_failure() as undo:
        progress.show("creating", f"model {inner}")
        container = {
            "Image": wish.image,
            "Mode": "SingleModel" if wish.single else "MultiModel",
            "ModelDataUrl": source.url,
            "Environment": wish.environment,
        }
        client.create_model(
            ModelName=inner,
            PrimaryContainer=container,
            ExecutionRoleArn=f"arn:aws:iam::{account}:role/modelplex",
            Tags=tags,
        )
        undo.append(lambda: client.delete_model(ModelName=inner))
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": inner,
            "InstanceType": wish.instance_type,
            "InitialInstanceCount": wish.instances,
        }
        client.create_endpoint_config(
            EndpointConfigName=inner, ProductionVariants=[variant], Tags=tags
        )
        undo.append(lambda: client.delete_endpoint_config(EndpointConfigName=inner))
        _upload(target.client("s3"), wish, source, progress)
        client.create_endpoint(EndpointName=wish.name, EndpointConfigName=inner, Tags=tags)
        undo.append(lambda: client.delete_endpoint(EndpointName=wish.name))
        return _wait(target, wish.name, progress)


@contextmanager
def _undone_on_failure() -> Iterator[list[Callable[[], Any]]]:
    """Calls the list's functions, the last first, if the block fails; Ctrl-C leaves all."""
    undo: list[Callable[[], Any]] = []
    try:
        yield undo
    except Exception:
        for each in reversed(undo):
            each()
        raise


def _wait(target: Target, name: str, progress: Progress) -> dict[str, Any]:
    """The endpoint in service. What is built for it first takes the time that it takes."""
    client = target.client("sagemaker")
    deadline = time.monotonic() + _WAIT_S
    while True:
        found: dict[str, Any] = client.describe_endpoint(EndpointName=name)
        found.pop("ResponseMetadata")
        if builds := targets.builds(target, name):
            doing = builds[0]["detail"] or builds[0]["step"]
            progress.show("building", f"{builds[0]['image']}: {doing}")
            deadline = time.monotonic() + _WAIT_S
        else:
            progress.show("waiting", f"{name} is {found['EndpointStatus']}")
        if found["EndpointStatus"] == "InService":
            return found
        if found["EndpointStatus"] == "Failed":
            raise click.ClickException(
                f"{name} failed: {found.get('FailureReason', 'no reason given')}\n"
                "The endpoint, its configuration and its model were deleted again.\n"
                f"What its instances wrote, if any ran: modelplex logs {name}"
            )
        if time.monotonic() > deadline:
            raise click.ClickException(f"{name} is not in service after {_WAIT_S:.0f} s.")
        time.sleep(_POLL_S)
