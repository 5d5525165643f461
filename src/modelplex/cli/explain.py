"""`modelplex explain`: where a model is, why, and what it would take to have it back."""

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

_WHY = {
    "memory": "to make room in memory",
    "disk": "to make room on the disk",
    "uncached": "since ModelCacheSetting is Disabled",
    "over_budget": "since models had grown beyond the budget",
    "replaced": "since a newer version serves",
}


@click.command()
@endpoint_argument
@click.argument("model")
@data_option
@json_option
def explain(name: str, model: str, data: Path | None, as_json: bool) -> None:
    """Tell where a model is, since when, why it left memory and for whom, and what it costs.

    MODEL is its TargetModel. What is told comes from each instance's own log of facts and orders.
    """
    target = targets.find(data)
    with targets.speaking(target, name):
        target.client("sagemaker").describe_endpoint(EndpointName=name)  # AWS's error if unknown
        path = f"/modelplex/endpoints/{quote(name)}/explain?model={quote(model, safe='')}"
        found = target.get(path)["instances"]
    if as_json:
        show_json(found)
        return
    for each in found:
        for sentence in _sentences(each):
            click.echo(sentence)
        rows = [_moment(moment) for moment in each["moments"]]
        show_table(["WHEN", "WHAT", ">SECONDS", ">BYTES", "DETAIL"], rows, "Nothing logged of it.")
    if not found:
        raise click.ClickException(f"No instance of {name} answers.")


def _sentences(told: dict[str, Any]) -> list[str]:
    """What one instance says, the important first."""
    return [
        f"{told['model']} on {told['instance']} ({told['variant']})",
        *(f"  {_where(copy, told)}" for copy in told["copies"]),
        *([] if told["copies"] else [f"  absent: {_absent(told)}"]),
        *(f"  {sentence}" for sentence in (_left(told), _cost(told), _failed(told)) if sentence),
    ]


def _where(copy: dict[str, Any], told: dict[str, Any]) -> str:
    version = f" (version {copy['version']})" if copy.get("version") else ""
    text = f"{copy['state'].replace('_', ' ')}{version}, {ago(told['since'])}: "
    text += f"{size(copy['memory_bytes'])} of memory, {size(copy['disk_bytes'])} of disk, "
    text += f"{copy['hits']} requests, {copy['loads']} loads, last used {ago(copy['last_used_at'])}"
    if "leaves_after" in copy:
        text += f"; {copy['leaves_after']} of {copy['loaded_models']} models would leave before it"
    if copy["waiting"]:
        text += f"; {copy['waiting']} requests wait for it"
    return text


def _absent(told: dict[str, Any]) -> str:
    if told["moments"]:
        return "neither in memory nor on the disk"
    return "nothing is known of it here; either it was never asked for, or long ago"


def _left(told: dict[str, Any]) -> str:
    """Why it last left memory, and the disk."""
    parts = []
    for key, place in (("last_unload", "memory"), ("last_drop", "the disk")):
        if moment := told[key]:
            whom = f" for {moment['for_model']}" if moment.get("for_model") else ""
            why = _WHY.get(moment.get("reason", ""), "")
            parts.append(f"It left {place} {ago(moment['at'])} {why}{whom}.")
    return " ".join(parts)


def _cost(told: dict[str, Any]) -> str:
    """What having it costs."""
    parts = []
    for key, verb in (("last_fetch", "fetch"), ("last_load", "load")):
        if (moment := told[key]) and "seconds" in moment:
            parts.append(f"last {verb} {moment['seconds'] * 1000:.1f} ms")
    if told["back_in_s"]:
        parts.append(f"it would be back in about {told['back_in_s'] * 1000:.0f} ms")
    return f"Costs: {', '.join(parts)}." if parts else ""


def _failed(told: dict[str, Any]) -> str:
    moment = told["last_failure"]
    return f"Last failure {ago(moment['at'])}: {moment['what']}: {moment['why']}" if moment else ""


def _moment(moment: dict[str, Any]) -> list[str]:
    count = next((moment[k] for k in ("memory_bytes", "disk_bytes") if k in moment), None)
    known = {"at", "what", "seconds", "memory_bytes", "disk_bytes"}
    detail = [f"{k} {v}" for k, v in moment.items() if k not in known and v not in (None, "")]
    seconds = f"{moment['seconds']:.4f}" if "seconds" in moment else "-"
    return [ago(moment["at"]), moment["what"], seconds, size(count), ", ".join(detail)]
