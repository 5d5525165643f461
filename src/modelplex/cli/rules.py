"""`modelplex rules` and `modelplex rollback`: what is wanted for models by name, and which not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from modelplex.cli import target as targets
from modelplex.cli.output import (
    data_option,
    endpoint_argument,
    json_option,
    say,
    show_json,
    show_table,
)

Document = dict[str, Any]


@click.command()
@endpoint_argument
@click.argument("pattern", required=False)
@click.option("--pin/--no-pin", "pinned", default=None, help="Load it at once; never evict it.")
@click.option("--weight", type=float, help="Its share of answers where many models compete.")
@click.option("--residency-min", "residency_min_s", type=float, help="Seconds it stays loaded.")
@click.option("--queue-max", type=int, help="Requests that may wait for it; 0: the setting.")
@click.option("--refresh/--no-refresh", default=None, help="Follow changes under the same key.")
@click.option("--remove", is_flag=True, help="Remove the pattern's rule.")
@data_option
@json_option
def rules(
    name: str,
    pattern: str | None,
    data: Path | None,
    as_json: bool,
    remove: bool,
    **wishes: Any,
) -> None:
    """Show or change the rules for an endpoint's models.

    PATTERN is a model's name, or has shell wildcards; the first rule that matches a model is its
    rule. What an option does not name stays as it is.
    """
    given = {key: value for key, value in wishes.items() if value is not None}
    if pattern is None and (given or remove):
        raise click.UsageError("Which models? Give a PATTERN, such as 'forecast-*.tar.gz'.")
    if remove and given:
        raise click.UsageError("--remove takes no other option.")
    target, path = targets.find(data), f"/modelplex/endpoints/{quote(name, safe='')}/rules"
    with targets.speaking(target, name):
        target.client("sagemaker").describe_endpoint(EndpointName=name)  # AWS's error if unknown
        document = target.get(path)
        if pattern is not None and (given or remove):
            changed = _changed(document["rules"], pattern, None if remove else given)
            document = target.send("PUT", path, {"rules": changed})
            _warn(document)
    found = [each for each in document["rules"] if pattern in (None, each["pattern"])]
    if as_json:
        show_json(found)
        return
    columns = ["PATTERN", "PINNED", ">WEIGHT", ">RESIDENCY MIN", ">QUEUE MAX", "REFRESH"]
    show_table(columns, [_row(each) for each in found], "No rules: all models are treated alike.")


@click.command()
@endpoint_argument
@click.argument("model")
@data_option
@json_option
def rollback(name: str, model: str, data: Path | None, as_json: bool) -> None:
    """Let the version of a model serve again that served before.

    It is on the instances' disks. The version that serves now is not taken again, even if it stays
    in the store.
    """
    target = targets.find(data)
    path = f"/modelplex/endpoints/{quote(name, safe='')}/models/{quote(model, safe='')}/rollback"
    with targets.speaking(target, name):
        target.client("sagemaker").describe_endpoint(EndpointName=name)
        document = target.send("POST", path)
    _warn(document)
    if as_json:
        show_json(document)
        return
    click.echo(f"{model}: from version {document['from']} back to {document['to']}")


def _changed(found: list[Document], pattern: str, given: Document | None) -> list[Document]:
    """The rules with one changed in its place, added at the end, or (None) left out."""
    patterns = [each["pattern"] for each in found]
    if given is None:
        if pattern not in patterns:
            raise click.ClickException(f"There is no rule for the pattern {pattern!r}.")
        return [each for each in found if each["pattern"] != pattern]
    if pattern not in patterns:
        return [*found, {"pattern": pattern, **given}]
    return [each | given if each["pattern"] == pattern else each for each in found]


def _warn(document: Document) -> None:
    if pending := document.get("pending"):
        say(f"Not delivered yet to {', '.join(pending)}: that is tried until it succeeds.")


def _row(rule: Document) -> list[str]:
    return [
        rule["pattern"],
        "yes" if rule["pinned"] else "-",
        f"{rule['weight']:g}",
        f"{rule['residency_min_s']:g} s" if rule["residency_min_s"] else "-",
        str(rule["queue_max"] or "-"),
        "yes" if rule["refresh"] else "-",
    ]
