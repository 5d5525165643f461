"""CreateEndpoint, DescribeEndpoint, DeleteEndpoint: promises and their state."""

from __future__ import annotations

from modelplex.aws.errors import ResourceLimitExceeded
from modelplex.control import capacity, deployments, models
from modelplex.control.deployments import (
    CREATING,
    DELETING,
    FAILED,
    IN_SERVICE,
    IN_TRANSITION,
    Deployment,
    Variant,
)
from modelplex.control.realm import Realm
from modelplex.control.records import Document, Kind


async def create(realm: Realm, request: Document) -> Document:
    """Promise an endpoint; the reconciler keeps the promise, or says in FailureReason why not."""
    config = realm.find(Kind.CONFIG, request["EndpointConfigName"])
    deployed = await deployments.snapshot(
        config,
        lambda name: realm.find(Kind.MODEL, name),
        lambda model: models.image_of(realm, model),
    )
    with realm.records.transaction():
        others = alive(realm)
        stored = {**request, "Deployed": deployed}
        record = realm.add(Kind.ENDPOINT, request["EndpointName"], stored, CREATING)
        wanted = deployments.read(record, realm.settings)
        _check_limit(realm, wanted, others)
        if reason := capacity.shortage(realm.settings, others, wanted):
            realm.records.set_status(record.arn, FAILED, reason)
    realm.changed()
    return {"EndpointArn": record.arn}


def describe(realm: Realm, request: Document) -> Document:
    """An endpoint as it is: its promise from the records, its instances from what is observed."""
    record = realm.find(Kind.ENDPOINT, request["EndpointName"])
    deployment = deployments.read(record, realm.settings)
    answer = {
        "EndpointName": record.name,
        "EndpointArn": record.arn,
        "EndpointConfigName": record.document["EndpointConfigName"],
        "ProductionVariants": [_variant(realm, deployment, each) for each in deployment.variants],
        "EndpointStatus": record.status,
        "CreationTime": record.created_at,
        "LastModifiedTime": record.modified_at,
    }
    if record.reason:
        answer["FailureReason"] = record.reason[:1024]
    return answer


def delete(realm: Realm, request: Document) -> Document:
    """Begin to delete an endpoint, whatever it is doing.

    AWS refuses while an endpoint is being created, which leaves people waiting for a mistake to
    time out; here that is allowed. Deleting what is being deleted changes nothing.
    """
    with realm.records.transaction():
        record = realm.find(Kind.ENDPOINT, request["EndpointName"])
        if record.status != DELETING:
            realm.records.set_status(record.arn, DELETING)
    realm.changed()
    return {}


def alive(realm: Realm) -> list[Deployment]:
    """The endpoints that have, or are getting, instances."""
    found = deployments.all_of(realm.records, realm.settings)
    return [each for each in found if each.is_alive]


def _check_limit(realm: Realm, wanted: Deployment, others: list[Deployment]) -> None:
    """ResourceLimitExceeded where the platform's number of instances would be exceeded."""
    used, more = sum(len(each.instances) for each in others), len(wanted.instances)
    limit = realm.settings.instances_max
    if used + more > limit:
        types = ", ".join(dict.fromkeys(variant.instance_type for variant in wanted.variants))
        raise ResourceLimitExceeded(
            f"The account-level service limit '{types} for endpoint usage' is {limit} Instances, "
            f"with current utilization of {used} Instances and a request delta of {more} "
            "Instances. Delete an endpoint, or start modelplex with a larger instances_max."
        )


def _variant(realm: Realm, deployment: Deployment, variant: Variant) -> Document:
    record = deployment.record
    image = {
        "SpecifiedImage": variant.specified_image,
        "ResolvedImage": variant.image.resolved,
        "ResolutionTime": record.created_at,
    }
    answer: Document = {
        "VariantName": variant.name,
        "DeployedImages": [image],
        "CurrentWeight": variant.weight if record.status == IN_SERVICE else 0.0,
        "DesiredWeight": variant.weight,
        "CurrentInstanceCount": sum(map(realm.is_healthy, variant.instances)),
        "DesiredInstanceCount": len(variant.instances) if deployment.is_alive else 0,
    }
    if record.status in IN_TRANSITION:
        answer["VariantStatus"] = [{"Status": record.status, "StartTime": record.modified_at}]
    return answer
