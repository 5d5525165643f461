"""STS and IAM, as far as notebooks ask: who am I, and which ARN has my execution role.

Everyone whose signature the gateway accepted is the account's one user. Handlers get no AWS
credentials, so there are no roles to keep: every name is a role. Both services speak AWS's query
protocol: a form is asked, XML answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from modelplex.aws import arns, shapes
from modelplex.settings import Settings

Fields: TypeAlias = "dict[str, str | Fields]"

# SageMaker Studio's own roles lie under this path; its SDK expects it in their ARNs.
_STUDIO_ROLE = "AmazonSageMaker-ExecutionRole"
_STUDIO_PATH = "/service-role/"
_STATEMENT = {
    "Effect": "Allow",
    "Principal": {"Service": "sagemaker.amazonaws.com"},
    "Action": "sts:AssumeRole",
}
_TRUST = {"Version": "2012-10-17", "Statement": [_STATEMENT]}


def answer(settings: Settings, service: str, body: bytes, request_id: str) -> bytes:
    """The XML that answers one request's form. Raises ServiceError."""
    model = shapes.load(service)
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    operation = form.get("Action", "")
    request = shapes.validate(model, operation, form)
    result = _elements(QUERY[service][operation](settings, request))
    return (
        f'<{operation}Response xmlns="{model.metadata["xmlNamespace"]}">'
        f"<{operation}Result>{result}</{operation}Result>"
        f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    ).encode()


def _get_caller_identity(settings: Settings, _request: dict[str, Any]) -> Fields:
    """The user that all keys of the platform belong to."""
    return {
        "UserId": "AIDAMODELPLEXUSER0000",
        "Account": settings.account,
        "Arn": arns.user_arn(settings.account, settings.region, "modelplex"),
    }


def _get_role(settings: Settings, request: dict[str, Any]) -> Fields:
    """A role of any valid name, which SageMaker may assume."""
    name = request["RoleName"]
    path = _STUDIO_PATH if name.startswith(_STUDIO_ROLE) else "/"
    role: Fields = {
        "Path": path,
        "RoleName": name,
        "RoleId": "AROA" + hashlib.sha256(name.encode()).hexdigest()[:17].upper(),
        "Arn": arns.role_arn(settings.account, settings.region, path.lstrip("/") + name),
        "CreateDate": "2026-01-01T00:00:00Z",
        "AssumeRolePolicyDocument": quote(json.dumps(_TRUST), safe=""),
        "MaxSessionDuration": "3600",
    }
    return {"Role": role}


QUERY: dict[str, dict[str, Callable[[Settings, dict[str, Any]], Fields]]] = {
    "sts": {"GetCallerIdentity": _get_caller_identity},
    "iam": {"GetRole": _get_role},
}


def _elements(fields: Fields) -> str:
    return "".join(f"<{name}>{_text(value)}</{name}>" for name, value in fields.items())


def _text(value: str | Fields) -> str:
    return escape(value) if isinstance(value, str) else _elements(value)
