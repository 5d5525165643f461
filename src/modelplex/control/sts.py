"""STS: who am I. Everyone whose signature the gateway accepted is the account's one user."""

from __future__ import annotations

from modelplex.aws import arns
from modelplex.control.xml import Fields
from modelplex.settings import Settings

USER = "modelplex"


def get_caller_identity(settings: Settings, request: Fields) -> Fields:
    """The user that all keys of the platform belong to."""
    return {
        "UserId": "AIDAMODELPLEXUSER0000",
        "Account": settings.account,
        "Arn": arns.user_arn(settings.account, settings.region, USER),
    }
