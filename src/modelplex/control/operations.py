"""SageMaker's operations: which function answers which, and those that are alike for all kinds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from modelplex.control import configs, endpoints, listing, models, tags
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind


def describe(kind: Kind, realm: Realm, request: Document) -> Document:
    """The request that made a model or a configuration, its ARN and its time."""
    record = realm.find(kind, request[f"{kind.member}Name"])
    return {
        "EnableNetworkIsolation": False,
        **record.document,
        f"{kind.member}Arn": record.arn,
        "CreationTime": record.created_at,
    }


def delete(kind: Kind, realm: Realm, request: Document) -> Document:
    """Forget a model or a configuration; endpoints made of it keep the copy that they have."""
    with realm.records.transaction():
        realm.records.delete(realm.find(kind, request[f"{kind.member}Name"]).arn)
    return {}


Operation = Callable[[Realm, Document], Document | Awaitable[Document]]

SAGEMAKER: dict[str, Operation] = {
    "CreateModel": models.create,
    "DescribeModel": partial(describe, Kind.MODEL),
    "ListModels": partial(listing.page, Kind.MODEL),
    "DeleteModel": partial(delete, Kind.MODEL),
    "CreateEndpointConfig": configs.create,
    "DescribeEndpointConfig": partial(describe, Kind.CONFIG),
    "ListEndpointConfigs": partial(listing.page, Kind.CONFIG),
    "DeleteEndpointConfig": partial(delete, Kind.CONFIG),
    "CreateEndpoint": endpoints.create,
    "DescribeEndpoint": endpoints.describe,
    "ListEndpoints": partial(listing.page, Kind.ENDPOINT),
    "DeleteEndpoint": endpoints.delete,
    "AddTags": tags.add,
    "ListTags": tags.list_,
    "DeleteTags": tags.delete,
}
