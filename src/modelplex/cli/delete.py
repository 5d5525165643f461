"""`modelplex delete`: an endpoint, and what was made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelplex.cli import target as targets
from modelplex.cli import upload
from modelplex.cli.deploy import TAG
from modelplex.cli.output import data_option, endpoint_argument, json_option, show_json


@click.command()
@endpoint_argument
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also a configuration and models not made by `deploy`, and what `deploy` uploaded.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --all.")
@data_option
@json_option
def delete(name: str, everything: bool, yes: bool, data: Path | None, as_json: bool) -> None:
    """Delete an endpoint, with the configuration and models that `deploy` made for it."""
    if everything and not yes:
        click.confirm(
            f"Delete {name}, its configuration, models and uploads?", abort=True, err=True
        )
    target = targets.find(data)
    with targets.speaking(target, name):
        done = _delete(target, name, everything)
    if as_json:
        show_json({"deleted": done})
        return
    for each in done:
        click.echo(f"deleted {each}")


def _delete(target: targets.Target, name: str, everything: bool) -> list[str]:
    client = target.client("sagemaker")
    endpoint = client.describe_endpoint(EndpointName=name)
    config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    names = sorted({each["ModelName"] for each in config["ProductionVariants"]})
    models = [client.describe_model(ModelName=each) for each in names]
    ours = [each for each in models if everything or _is_ours(client, each["ModelArn"], name)]
    client.delete_endpoint(EndpointName=name)
    client.get_waiter("endpoint_deleted").wait(EndpointName=name)
    done = [f"endpoint {name}"]
    if everything or _is_ours(client, config["EndpointConfigArn"], name):
        client.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
        done.append(f"configuration {config['EndpointConfigName']}")
    for model in ours:
        client.delete_model(ModelName=model["ModelName"])
        done.append(f"model {model['ModelName']}")
    if everything:
        done += _delete_uploads(target, name, models)
    return done


def _is_ours(client: Any, arn: str, name: str) -> bool:
    tags = client.list_tags(ResourceArn=arn)["Tags"]
    return {"Key": TAG, "Value": name} in tags


def _delete_uploads(target: targets.Target, name: str, models: list[dict[str, Any]]) -> list[str]:
    """What lies under the place that `deploy` uploads to, if these models came from there."""
    account = target.client("sts").get_caller_identity()["Account"]
    client = target.client("s3")
    bucket = upload.default_bucket(client.meta.region_name, account)
    place = f"s3://{bucket}/{name}/"
    containers = [each.get("PrimaryContainer") or each["Containers"][0] for each in models]
    if not any(str(each.get("ModelDataUrl", "")).startswith(place) for each in containers):
        return []
    return [f"{upload.delete(client, bucket, name + '/')} objects in {place}"]
