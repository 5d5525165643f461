"""The platform that a command speaks to, and what goes wrong on the way to it."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from modelplex import settings as settings_file
from modelplex.http.addresses import reachable
from modelplex.supervisor import folder
from modelplex.supervisor.folder import FolderError

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 150  # beyond the longest answer of the platform itself


@dataclass(frozen=True, slots=True)
class Target:
    """Where the platform listens and who asks it; empty members are left to boto3's own ways."""

    endpoint: str
    region: str = ""
    access_key: str = ""
    secret_key: str = ""

    def client(self, service: str) -> Any:
        """A boto3 client of one AWS service; asks once, since the platform says what to retry."""
        import boto3  # noqa: PLC0415 (a third of a second, which most of --help need not wait)
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},
        )
        make: Any = boto3.Session().client  # its stubs want literal service names
        return make(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region or None,
            aws_access_key_id=self.access_key or None,
            aws_secret_access_key=self.secret_key or None,
            config=config,
        )

    def get(self, path: str) -> Any:
        """A signed GET of what AWS has no call for. Raises ClickException."""
        return self.send("GET", path)

    def send(self, method: str, path: str, document: object = None) -> Any:
        """A signed call of what AWS has no call for. Raises ClickException."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415

        client = self.client("sts")  # for the keys and region that boto3 finds
        body = b"" if document is None else json.dumps(document).encode()
        request = AWSRequest(method, self.endpoint.rstrip("/") + path, data=body)
        keys = client._request_signer._credentials  # what boto3 itself signs with
        SigV4Auth(keys, "modelplex", client.meta.region_name).add_auth(request)
        answer = URLLib3Session(timeout=READ_TIMEOUT_S).send(request.prepare())
        found = json.loads(answer.content or b"{}")
        if answer.status_code != 200:
            text = found.get("message") or found.get("Message") or answer.text
            raise click.ClickException(str(text))
        return found


def find(data: Path | None) -> Target:
    """The platform of `--data`, else of AWS_ENDPOINT_URL, else of the usual data folder.

    Raises ClickException if there has never been one.
    """
    if data is None and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
        return Target(endpoint)
    return of_folder(settings_file.data_folder(data))


def of_folder(data: Path) -> Target:
    """The platform of a data folder, running or not. Raises ClickException."""
    try:
        settings, keys = settings_file.load(data), folder.read_keys(data)
    except FileNotFoundError:
        keys, settings = None, settings_file.Settings()
    except (FolderError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if keys is None:
        raise click.ClickException(f"There is no platform in {data} yet: start it: modelplex up")
    host = reachable(settings.host)
    host = f"[{host}]" if ":" in host else host
    return Target(f"http://{host}:{settings.port}", settings.region, *keys)


@contextmanager
def speaking(target: Target, endpoint: str = "") -> Iterator[None]:
    """Turn what boto3 raises inside into an error that says what to do.

    An unknown `endpoint` is answered with the names of those that are alike.
    """
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
    )

    try:
        yield
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        raise click.ClickException(
            f"{code}: {message}{_alike(target, endpoint, message)}"
        ) from None
    except (ConnectionError, HTTPClientError) as error:
        raise click.ClickException(
            f"Nothing answers at {target.endpoint}: is `modelplex up` running? ({error})"
        ) from None
    except BotoCoreError as error:
        raise click.ClickException(str(error)) from None


def endpoints(target: Target) -> list[dict[str, Any]]:
    """All endpoints, as ListEndpoints has them."""
    pages = target.client("sagemaker").get_paginator("list_endpoints").paginate()
    return [each for page in pages for each in page["Endpoints"]]


def builds(target: Target, endpoint: str) -> list[dict[str, Any]]:
    """The images that are being built for an endpoint: image, step, detail, seconds."""
    found = target.get(f"/modelplex/endpoints/{quote(endpoint)}/builds")
    rows: list[dict[str, Any]] = found["builds"]
    return rows


def endpoint_names(target: Target) -> list[str]:
    """The names of all endpoints."""
    return [each["EndpointName"] for each in endpoints(target)]


def _alike(target: Target, endpoint: str, message: str) -> str:
    """A hint for a message about an endpoint that is not there, "" for any other."""
    if not endpoint or not re.search("(?i)could not find endpoint|endpoint .* not found", message):
        return ""
    names = endpoint_names(target)
    near = difflib.get_close_matches(endpoint, names, n=3)
    if near:
        return f"\nDid you mean {' or '.join(near)}?"
    return f"\nEndpoints: {', '.join(sorted(names)[:10])}" if names else "\nThere are no endpoints."
