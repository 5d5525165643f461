"""`modelplex ls`, `describe` and `models`: what there is, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from modelplex.cli import target as targets
from modelplex.cli.output import (
    ago,
    data_option,
    endpoint_argument,
    json_option,
    show_json,
    show_table,
    size,
)

VERSION_SHOWN, REMARK_SHOWN = 8, 120  # characters; --json has all


@click.command()
@data_option
@json_option
def ls(data: Path | None, as_json: bool) -> None:
    """List the endpoints."""
    target = targets.find(data)
    with targets.speaking(target):
        found = targets.endpoints(target)
    if as_json:
        show_json(found)
        return
    rows = [
        [e["EndpointName"], e["EndpointStatus"], ago(e["CreationTime"]), ago(e["LastModifiedTime"])]
        for e in found
    ]
    show_table(["NAME", "STATUS", "CREATED", "CHANGED"], rows, "No endpoints: modelplex deploy.")


@click.command()
@endpoint_argument
@data_option
@json_option
def describe(name: str, data: Path | None, as_json: bool) -> None:
    """Show one endpoint: status, variants, models behind them, instances."""
    target = targets.find(data)
    with targets.speaking(target, name):
        document = _everything(target, name)
    if as_json:
        show_json(document)
        return
    endpoint = document["endpoint"]
    click.echo(f"{endpoint['EndpointName']}: {endpoint['EndpointStatus']}")
    if reason := endpoint.get("FailureReason"):
        click.echo(f"Because: {reason}")
    for build in document["builds"]:
        doing = f"{build['step']}: {build['detail']}"
        click.echo(f"Building {build['image']} for {build['seconds']:.0f} s: {doing}")
    click.echo(f"{endpoint['EndpointArn']}\nConfiguration: {endpoint['EndpointConfigName']}\n")
    variants = [_variant(each, document["models"]) for each in document["variants"]]
    columns = ["VARIANT", ">INSTANCES", "TYPE", ">WEIGHT", "IMAGE", "MODELS"]
    show_table(columns, variants, "No variants.")
    columns = ["INSTANCE", "VARIANT", "HEALTH", ">MEMORY", ">OF", ">DISK"]
    show_table(columns, [_instance(each) for each in document["instances"]], "No instances.")


@click.command()
@endpoint_argument
@data_option
@json_option
def models(name: str, data: Path | None, as_json: bool) -> None:
    """Show where each model of an endpoint is, its memory, hits and last use."""
    target = targets.find(data)
    with targets.speaking(target, name):
        target.client("sagemaker").describe_endpoint(EndpointName=name)  # AWS's error if unknown
        found = target.get(f"/modelplex/endpoints/{quote(name)}/models")["models"]
    if as_json:
        show_json(found)
        return
    found.sort(key=lambda m: (m["model"], m["instance"], m["standing"] != "serving"))
    columns = ["MODEL", "INSTANCE", "STATE", ">MEMORY", ">DISK", ">HITS", ">LOADS", "LAST USE"]
    rows = [_model(each) for each in found]
    if any(map(_has_versions, found)):
        columns += ["VERSION", "STANDING", "REMARK"]
        rows = [[*row, *_version(each)] for row, each in zip(rows, found, strict=True)]
    show_table(columns, rows, "No models yet: each is fetched when it is first invoked.")


def _everything(target: targets.Target, name: str) -> dict[str, Any]:
    client = target.client("sagemaker")
    endpoint = _bare(client.describe_endpoint(EndpointName=name))
    config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    variants = config["ProductionVariants"]
    names = {each["ModelName"] for each in variants}
    return {
        "endpoint": endpoint,
        "variants": variants,
        "models": {each: _bare(client.describe_model(ModelName=each)) for each in sorted(names)},
        "builds": targets.builds(target, name),
        "instances": target.get(f"/modelplex/endpoints/{quote(name)}/instances")["instances"],
    }


def _bare(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _variant(variant: dict[str, Any], found: dict[str, Any]) -> list[str]:
    model = found[variant["ModelName"]]
    container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
    return [
        variant["VariantName"],
        str(variant.get("InitialInstanceCount", "-")),
        variant.get("InstanceType", "-"),
        f"{variant.get('InitialVariantWeight', 1.0):g}",
        container.get("Image", "-"),
        container.get("ModelDataUrl", "-"),
    ]


def _instance(row: dict[str, Any]) -> list[str]:
    memory, disk = row.get("memory", {}), row.get("disk", {})
    return [
        row["id"],
        row["variant"],
        str(row.get("status") or row.get("health") or "-"),
        size(memory.get("used")),
        size(memory.get("budget")),
        size(disk.get("used")),
    ]


def _has_versions(row: dict[str, Any]) -> bool:
    return row["standing"] != "serving" or bool(row["candidate"] or row["rejected"])


def _version(row: dict[str, Any]) -> list[str]:
    """A version, what it is to its name, and what became of the others."""
    remarks = [f"put off: {row['put_off']}"] if row.get("put_off") else []
    for version, why in row.get("rejected", {}).items():
        remarks.append(f"{version[:VERSION_SHOWN]} rejected: {why}")
    shown = " | ".join(" ".join(remark.split()) for remark in remarks)
    if len(shown) > REMARK_SHOWN:
        shown = shown[:REMARK_SHOWN] + "…"
    return [row["version"][:VERSION_SHOWN] or "-", row["standing"], shown or "-"]


def _model(row: dict[str, Any]) -> list[str]:
    return [
        row["model"],
        row["instance"],
        row["state"],
        size(row["memory_bytes"]),
        size(row["disk_bytes"]),
        str(row["hits"]),
        str(row["loads"]),
        ago(row["last_used_at"]),
    ]
