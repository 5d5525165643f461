"""CreateModel, and what a model's document says to others."""

from __future__ import annotations

from pathlib import Path

from modelplex.aws import locations
from modelplex.aws.errors import ValidationException
from modelplex.control.realm import Realm, refuse, unsupported
from modelplex.control.records import Document, Kind
from modelplex.images.catalogue import OCI, Named, NotFound

# Members whose effect would be missing without a word: docs/reference/coverage-notes.md.
_REFUSED_IN_CONTAINER = (
    "AdditionalModelDataSources",
    "ModelPackageName",
    "InferenceSpecificationName",
    "ContainerMetricsConfig",
)
_REFUSED_IN_S3_SOURCE = ("HubAccessConfig", "ManifestS3Uri", "ETag", "ManifestEtag")


async def create(realm: Realm, request: Document) -> Document:
    """Record a model, after checking that its image and its data's address mean something."""
    if request.get("InferenceExecutionConfig", {}).get("Mode") == "Direct":
        raise unsupported("InferenceExecutionConfig.Mode Direct")
    _check_container(realm, container(request))
    await image_of(realm, request)
    with realm.records.transaction():
        record = realm.add(Kind.MODEL, request["ModelName"], request)
    return {"ModelArn": record.arn}


def container(request: Document) -> Document:
    """The one container of a model. ValidationException for none, both kinds or several."""
    several = request.get("Containers") or []
    primary = request.get("PrimaryContainer")
    if primary is not None and several:
        raise ValidationException(
            "Both PrimaryContainer and Containers are given. Give one of them."
        )
    if len(several) > 1:
        raise unsupported(f"Containers with {len(several)} containers (an inference pipeline)")
    found: Document | None = several[0] if several else primary
    if found is None:
        raise ValidationException("Either PrimaryContainer or Containers must be given.")
    return found


async def image_of(realm: Realm, model: Document) -> Named:
    """What a model's image is now. ValidationException where that is nothing, or where it cannot
    be run as the model wants."""
    image = container(model)["Image"]
    try:
        found = await realm.catalogue.resolve(image)
    except NotFound as error:
        raise ValidationException(f"Requested image {image} not found. {error}") from None
    if model.get("EnableNetworkIsolation") and found.kind != OCI:
        raise ValidationException(
            f"EnableNetworkIsolation is not supported for {image}, which runs as processes of this "
            "machine: only a container engine can keep an image from the network."
        )
    return found


def data_url(found: Document) -> str | None:
    """Where a container's model data lies: ModelDataUrl, or the one archive of ModelDataSource."""
    source = found.get("ModelDataSource", {}).get("S3DataSource", {})
    url: str | None = found.get("ModelDataUrl") or source.get("S3Uri")
    return url


def is_multi_model(found: Document) -> bool:
    """Whether a container's model data is a prefix of many models."""
    return bool(found.get("Mode", "SingleModel") == "MultiModel")


def _check_container(realm: Realm, found: Document) -> None:
    refuse("PrimaryContainer.", found, _REFUSED_IN_CONTAINER)
    if found.get("ImageConfig", {}).get("RepositoryAccessMode") == "Vpc":
        raise unsupported("PrimaryContainer.ImageConfig.RepositoryAccessMode Vpc")
    if "MultiModelConfig" in found and not is_multi_model(found):
        raise ValidationException("MultiModelConfig is given, but Mode is not MultiModel.")
    _check_source(found)
    _check_location(realm, found)
    if not found.get("Image"):
        raise ValidationException("PrimaryContainer.Image is required.")


def _check_source(found: Document) -> None:
    source = found.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return
    if found.get("ModelDataUrl"):
        raise ValidationException(
            "Both ModelDataUrl and ModelDataSource are given. Give one of them."
        )
    if is_multi_model(found):
        raise ValidationException("ModelDataSource cannot be used with Mode MultiModel.")
    refuse("ModelDataSource.S3DataSource.", source, _REFUSED_IN_S3_SOURCE)
    kinds = (source["S3DataType"], source["CompressionType"])
    if kinds != ("S3Object", "Gzip"):
        raise unsupported(
            "ModelDataSource with S3DataType {} and CompressionType {}".format(*kinds)
        )


def _check_location(realm: Realm, found: Document) -> None:
    url = data_url(found)
    if not url:
        if is_multi_model(found):
            raise ValidationException("ModelDataUrl is required when Mode is MultiModel.")
        raise unsupported("A container without ModelDataUrl")
    try:
        location = locations.parse_model_data_url(url)
    except locations.BadLocation as error:
        raise ValidationException(f"Invalid ModelDataUrl: {error}.") from None
    if is_multi_model(found) and url.endswith(".tar.gz"):
        raise ValidationException(
            f"ModelDataUrl '{url}' names one archive. "
            "With Mode MultiModel it is the prefix under which the archives lie."
        )
    if not is_multi_model(found) and url.endswith("/"):
        raise ValidationException(
            f"ModelDataUrl '{url}' names a prefix. "
            "With Mode SingleModel it is one .tar.gz archive; or set Mode to MultiModel."
        )
    if isinstance(location, locations.FileLocation):
        _check_root(realm, Path(location.path), url)


def _check_root(realm: Realm, path: Path, url: str) -> None:
    roots = [Path(root).resolve() for root in realm.settings.file_roots]
    if not any(path.resolve().is_relative_to(root) for root in roots):
        allowed = ", ".join(map(str, roots)) or "none"
        raise ValidationException(
            f"ModelDataUrl '{url}' lies outside the folders that file:// may name: {allowed}. "
            "The operator sets them with file_roots."
        )
