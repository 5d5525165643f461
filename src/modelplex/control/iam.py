"""IAM: the one question that SageMaker's SDK and notebooks ask, for an execution role's ARN.

modelplex gives handlers no AWS credentials, so there are no roles to keep: every name is a role.
"""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

from modelplex.aws import arns
from modelplex.control.xml import Fields
from modelplex.settings import Settings

# SageMaker Studio's own roles lie under this path; its SDK expects it in their ARNs.
_STUDIO_ROLE = "AmazonSageMaker-ExecutionRole"
_STUDIO_PATH = "/service-role/"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def get_role(settings: Settings, request: Fields) -> Fields:
    """A role of any valid name, which SageMaker may assume."""
    name = request["RoleName"]
    assert isinstance(name, str)
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
