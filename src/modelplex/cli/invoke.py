"""`modelplex invoke`: InvokeEndpoint with a body from stdin."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import click

from modelplex.cli import target as targets
from modelplex.cli.output import data_option, endpoint_argument, json_option, say, show_json


class ModelFailed(click.ClickException):
    """The handler failed, or answered with an error."""

    exit_code = 3


class NotReady(click.ClickException):
    """The model is still being loaded, or there is no room: try again."""

    exit_code = 4


@click.command()
@endpoint_argument
@click.argument("model", required=False)
@click.option("-f", "--file", "source", type=click.File("rb"), help="The body; else stdin.")
@click.option("-T", "--content-type", help="What the body is.")
@click.option("--accept", help="What the answer should be.")
@click.option("--variant", help="The production variant to ask.")
@data_option
@json_option
def invoke(
    *,
    name: str,
    model: str | None,
    source: Any,
    content_type: str | None,
    accept: str | None,
    variant: str | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Send a body to MODEL (the archive's key under the prefix) of an endpoint.

    The answer's body goes to stdout as it is. Exit status: 3 when the model failed, 4 when it is
    not ready, 1 for any other error.
    """
    target = targets.find(data)
    if source is None and sys.stdin.isatty():
        say("Reading the body from the terminal; end it with Ctrl-D.")
    body = (source or sys.stdin.buffer).read()
    members = {
        "TargetModel": model,
        "ContentType": content_type,
        "Accept": accept,
        "TargetVariant": variant,
    }
    chosen = {key: value for key, value in members.items() if value is not None}
    with targets.speaking(target, name):
        client = target.client("sagemaker-runtime")
        answer, content = _send(client, name, model, body, chosen)
    if as_json:
        show_json(_document(answer, content))
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _send(
    client: Any, name: str, model: str | None, body: bytes, members: dict[str, str]
) -> tuple[dict[str, Any], bytes]:
    errors = client.exceptions
    try:
        answer = client.invoke_endpoint(EndpointName=name, Body=body, **members)
    except errors.ModelError as error:
        found = error.response
        text = found.get("OriginalMessage") or found["Error"]["Message"]
        hint = f"See: modelplex logs {name} {model or ''}".rstrip()
        status = found.get("OriginalStatusCode")
        raise ModelFailed(f"ModelError ({status}): {text}\n{hint}") from None
    except (errors.ModelNotReadyException, errors.ServiceUnavailable) as error:
        found = error.response["Error"]
        raise NotReady(f"{found['Code']}: {found['Message']}") from None
    return answer, answer["Body"].read()


def _document(answer: dict[str, Any], content: bytes) -> dict[str, Any]:
    """The answer for scripts: the body as text, or in base 64 where it is none."""
    try:
        body = {"body": content.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(content).decode()}
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return {
        "content_type": answer.get("ContentType"),
        "variant": answer.get("InvokedProductionVariant"),
        "start": headers.get("x-modelplex-start"),
        "timing": headers.get("server-timing"),
        "request_id": answer["ResponseMetadata"].get("RequestId"),
        **body,
    }
