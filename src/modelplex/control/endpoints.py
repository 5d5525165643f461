"""CreateEndpoint, DescribeEndpoint, ListEndpoints, DeleteEndpoint: promises and their state."""

from __future__ import annotations

from collections import Counter

from modelplex.aws.errors import ResourceLimitExceeded, ValidationException
from modelplex.control import capacity, deployments, listing
from modelplex.control.deployments import Deployment, Variant
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind, Record

CREATING, IN_SERVICE, DELETING, FAILED = "Creating", "InService", "Deleting", "Failed"
IN_TRANSITION = frozenset({CREATING, DELETING})
_USES_NO_INSTANCES = frozenset({DELETING, FAILED})


def create(realm: Realm, request: Document) -> Document:
    """Promise an endpoint; the reconciler keeps the promise, or says in FailureReason why not."""
    with realm.records.transaction():
        config = realm.find(Kind.CONFIG, request["EndpointConfigName"])
        deployed = deployments.snapshot(
            config, lambda name: realm.find(Kind.MODEL, name), lambda image: _image(realm, image)
        )
        others = alive(realm)
        _check_limit(realm, config.document["ProductionVariants"], others)
        stored = {**request, "Deployed": deployed}
        arn = realm.add(Kind.ENDPOINT, request["EndpointName"], stored, CREATING)
        _fail_if_too_big(realm, arn, others)
    realm.changed()
    return {"EndpointArn": arn}


def describe(realm: Realm, request: Document) -> Document:
    """An endpoint as it is: its promise from the records, its instances from what is observed."""
    record = realm.find(Kind.ENDPOINT, request["EndpointName"])
    deployment = deployments.read(record, realm.settings)
    healthy = realm.healthy(record.name)
    answer = {
        "EndpointName": record.name,
        "EndpointArn": record.arn,
        "EndpointConfigName": deployment.config_name,
        "ProductionVariants": [
            _variant(deployment, variant, healthy.get(variant.name, 0))
            for variant in deployment.variants
        ],
        "EndpointStatus": record.status,
        "CreationTime": record.created_at,
        "LastModifiedTime": record.modified_at,
    }
    if record.reason:
        answer["FailureReason"] = record.reason[:1024]
    return answer


def list_(realm: Realm, request: Document) -> Document:
    """A page of endpoints."""
    return listing.page(realm.records, Kind.ENDPOINT, request, _summary, "Endpoints")


def delete(realm: Realm, request: Document) -> Document:
    """Begin to delete an endpoint, whatever it is doing.

    AWS refuses while an endpoint is being created, which leaves people waiting for a mistake to
    time out; here that is allowed. Deleting what is being deleted changes nothing.
    """
    with realm.records.transaction():
        record = realm.find(Kind.ENDPOINT, request["EndpointName"])
        if record.status != DELETING:
            realm.records.set_status(record.arn, DELETING, "", round(realm.clock(), 3))
    realm.changed()
    return {}


def alive(realm: Realm) -> list[Deployment]:
    """The endpoints that have, or are getting, instances."""
    return [
        deployments.read(record, realm.settings)
        for record in realm.records.all(Kind.ENDPOINT)
        if record.status not in _USES_NO_INSTANCES
    ]


def _image(realm: Realm, name: str) -> Document:
    image = realm.images.resolve(name)
    if image is None:
        raise ValidationException(f"Requested image {name} not found.")
    return {"Name": image.name, "Hash": image.hash}


def _check_limit(realm: Realm, variants: list[Document], others: list[Deployment]) -> None:
    """ResourceLimitExceeded where the platform's number of instances would be exceeded."""
    used = sum(len(each.instances) for each in others)
    more: Counter[str] = Counter()
    for variant in variants:
        more[variant["InstanceType"]] += variant["InitialInstanceCount"]
    limit = realm.settings.instances_max
    if used + more.total() > limit:
        raise ResourceLimitExceeded(
            f"The account-level service limit '{', '.join(more)} for endpoint usage' is {limit} "
            f"Instances, with current utilization of {used} Instances and a request delta of "
            f"{more.total()} Instances. Delete an endpoint, or start modelplex with a larger "
            "instances_max."
        )


def _fail_if_too_big(realm: Realm, arn: str, others: list[Deployment]) -> None:
    record = realm.records.by_arn(arn)
    assert record is not None
    wanted = deployments.read(record, realm.settings)
    reason = capacity.shortage(realm.settings, others, wanted)
    if reason:
        realm.records.set_status(arn, FAILED, reason, record.created_at)


def _variant(deployment: Deployment, variant: Variant, healthy: int) -> Document:
    image = {
        "SpecifiedImage": variant.image,
        "ResolvedImage": f"{variant.image_name.partition(':')[0]}@sha256:{variant.image_hash}",
        "ResolutionTime": deployment.created_at,
    }
    gone = deployment.status in _USES_NO_INSTANCES
    in_service = deployment.status == IN_SERVICE
    answer: Document = {
        "VariantName": variant.name,
        "DeployedImages": [image],
        "CurrentWeight": variant.weight if in_service else 0.0,
        "DesiredWeight": variant.weight,
        "CurrentInstanceCount": healthy,
        "DesiredInstanceCount": 0 if gone else len(variant.instances),
    }
    if deployment.status in IN_TRANSITION:
        answer["VariantStatus"] = [
            {"Status": deployment.status, "StartTime": deployment.modified_at}
        ]
    return answer


def _summary(record: Record) -> Document:
    return {
        "EndpointName": record.name,
        "EndpointArn": record.arn,
        "CreationTime": record.created_at,
        "LastModifiedTime": record.modified_at,
        "EndpointStatus": record.status,
    }
