"""CreateEndpointConfig: what a configuration may ask for, and its defaults."""

from __future__ import annotations

from modelplex.aws.errors import ValidationException
from modelplex.control.realm import Realm, refuse, unsupported
from modelplex.control.records import Document, Kind
from modelplex.core import sizing

# Members whose effect would be missing without a word: docs/reference/coverage-notes.md.
_REFUSED = (
    "ShadowProductionVariants",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "KmsKeyId",
    "CrossRegionTrafficConfig",
    "EnableNetworkIsolation",
    "ExecutionRoleArn",
    "VpcConfig",
)
_REFUSED_IN_METRICS = ("EnableEnhancedMetrics", "EnableDetailedObservability")
_REFUSED_IN_VARIANT = (
    "ServerlessConfig",
    "InstancePools",
    "AcceleratorType",
    "CoreDumpConfig",
    "EnableSSMAccess",
    "CapacityReservationConfig",
    "AcceleratorPartitionLayouts",
)
_ROUTING = ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")


def create(realm: Realm, request: Document) -> Document:
    """Record an endpoint configuration whose models exist, weights and all filled in."""
    refuse("", request, _REFUSED)
    refuse("MetricsConfig.", request.get("MetricsConfig", {}), _REFUSED_IN_METRICS)
    if request.get("DataCaptureConfig", {}).get("EnableCapture"):
        raise unsupported("DataCaptureConfig")
    variants = [_variant(each) for each in request["ProductionVariants"]]
    _check_names(variants)
    with realm.records.transaction():
        for variant in variants:
            realm.find(Kind.MODEL, variant["ModelName"])
        stored = {**request, "ProductionVariants": variants}
        record = realm.add(Kind.CONFIG, request["EndpointConfigName"], stored)
    return {"EndpointConfigArn": record.arn}


def _variant(asked: Document) -> Document:
    """A variant with its defaults filled in. Raises ValidationException."""
    name = asked["VariantName"]
    refuse(f"ProductionVariant {name}: ", asked, _REFUSED_IN_VARIANT)
    if asked.get("ManagedInstanceScaling", {}).get("Status", "DISABLED") == "ENABLED":
        raise unsupported(f"ProductionVariant {name}: ManagedInstanceScaling")
    strategy = asked.get("RoutingConfig", {}).get("RoutingStrategy", _ROUTING[0])
    if strategy not in _ROUTING:
        raise unsupported(f"ProductionVariant {name}: RoutingStrategy {strategy}")
    if "ModelName" not in asked:
        raise unsupported(
            f"ProductionVariant {name}: a variant without ModelName, for inference components,"
        )
    for member in ("InstanceType", "InitialInstanceCount"):
        if not asked.get(member):
            raise ValidationException(f"ProductionVariant {name}: {member} is required.")
    if not sizing.is_known(asked["InstanceType"]):
        raise ValidationException(
            f"ProductionVariant {name}: the instance type {asked['InstanceType']} is not known."
        )
    return {"InitialVariantWeight": 1.0, **asked}


def _check_names(variants: list[Document]) -> None:
    names = [variant["VariantName"] for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise ValidationException(
                f"Duplicate production variant name '{name}'. Give each variant its own name."
            )
