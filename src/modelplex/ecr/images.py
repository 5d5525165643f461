"""ECR's operations on the images of one repository. They read files: call them in a thread."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelplex.aws.errors import ImageNotFoundException, InvalidParameterException
from modelplex.ecr import storage
from modelplex.ecr.pages import page
from modelplex.ecr.storage import Shelf, Stored

Document = dict[str, Any]

MANIFESTS_BYTES_MAX = 16 * 1024 * 1024  # of one BatchGetImage
_DIGEST = re.compile(r"[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+")  # as ECR quotes it
_REASONS = {
    "MissingDigestAndTag": "Invalid request parameters: both tag and digest cannot be null",
    "InvalidImageDigest": "Invalid request parameters: image digest should satisfy the regex "
    f"'{_DIGEST.pattern}'",
    "ImageNotFound": "Requested image not found",
    "ImageTagDoesNotMatchDigest": "Requested image tag does not match the requested digest",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A repository, and the shelf of its images."""

    account: str
    repository: str
    shelf: Shelf

    @property
    def named(self) -> Document:
        """The members that say in which registry and repository an image is."""
        return {"registryId": self.account, "repositoryName": self.repository}


class Missing(Exception):
    """An identifier names no image; the text is ECR's failure code."""


def list_images(place: Place, request: Document) -> Document:
    """One identifier for each tag, and for each image that has none."""
    identifiers = {
        f"{each.digest} {tag}": _identifier(each, tag)
        for each in _filtered(place.shelf.images(), request)
        for tag in each.tags or ("",)
    }
    question = ["ListImages", place.repository, request.get("filter", {})]
    chosen, more = page(sorted(identifiers), request, question)
    return {"imageIds": [identifiers[key] for key in chosen], **more}


def describe_images(place: Place, request: Document) -> Document:
    """Size, time and tags of images. Raises ImageNotFoundException for one that is not there."""
    images = {each.digest: each for each in _filtered(place.shelf.images(), request)}
    if "imageIds" not in request:
        question = ["DescribeImages", place.repository, request.get("filter", {})]
        chosen, more = page(sorted(images), request, question)
        return {"imageDetails": [_detail(place, images[key]) for key in chosen], **more}
    if "nextToken" in request or "maxResults" in request:
        raise InvalidParameterException(
            "Invalid parameter: imageIds cannot be given together with nextToken or maxResults."
        )
    details = []
    for asked in request["imageIds"]:
        try:
            details.append(_detail(place, _choose(images.values(), asked)))
        except Missing as error:
            raise _not_found(place, asked, str(error)) from None
    return {"imageDetails": details}


def batch_get_image(place: Place, request: Document) -> Document:
    """Manifests, as they were pushed; `acceptedMediaTypes` leaves out what has another type."""
    found, failures, total = [], [], 0
    images = place.shelf.images()
    for asked in request["imageIds"]:
        try:
            stored = _choose(images, asked)
            manifest = place.shelf.manifest(stored.digest)
            kind = _media_type(storage.parse(manifest))
            if kind not in request.get("acceptedMediaTypes", [kind]):
                raise Missing("ImageNotFound")
        except Missing as error:
            failures.append(_failure(asked, str(error)))
            continue
        total += len(manifest)
        if total > MANIFESTS_BYTES_MAX:
            raise InvalidParameterException(
                f"Invalid parameter at 'imageIds': the manifests are longer than "
                f"{MANIFESTS_BYTES_MAX} bytes together. Ask for fewer at once."
            )
        identifier = _identifier(stored, asked.get("imageTag", ""))
        body = {"imageManifest": manifest, "imageManifestMediaType": kind}
        found.append({**place.named, "imageId": identifier, **body})
    return {"images": found, "failures": failures}


def batch_delete_image(place: Place, request: Document) -> Document:
    """Take images or tags away; an image goes with its last tag, and by its digest at once."""
    deleted: list[Document] = []
    failures = []
    for asked in request["imageIds"]:
        try:
            stored = _choose(place.shelf.images(), asked)
        except Missing as error:
            failures.append(_failure(asked, str(error)))
            continue
        tag = asked.get("imageTag")
        if tag is not None and stored.tags != (tag,):
            place.shelf.untag(tag)
        else:
            place.shelf.delete(stored.digest)
        gone = (tag,) if tag is not None else stored.tags or ("",)
        deleted += [_identifier(stored, each) for each in gone]
    return {"imageIds": deleted, "failures": failures}


def _filtered(images: Iterable[Stored], request: Document) -> list[Stored]:
    """The images that a request's filter lets through; all of ours are active."""
    wanted = request.get("filter", {})
    if wanted.get("imageStatus", "ACTIVE") not in ("ACTIVE", "ANY"):
        return []
    status = wanted.get("tagStatus", "ANY")
    return [each for each in images if status in ("ANY", "TAGGED" if each.tags else "UNTAGGED")]


def _choose(images: Iterable[Stored], asked: Document) -> Stored:
    """The image that an identifier names. Raises Missing."""
    tag, digest = asked.get("imageTag"), asked.get("imageDigest")
    if tag is None and digest is None:
        raise Missing("MissingDigestAndTag")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise Missing("InvalidImageDigest")
    of_tag = [each for each in images if tag is None or tag in each.tags]
    found = [each for each in of_tag if digest is None or each.digest == digest]
    if not found:
        both = tag is not None and digest is not None and of_tag
        raise Missing("ImageTagDoesNotMatchDigest" if both else "ImageNotFound")
    return found[0]


def _identifier(stored: Stored, tag: str) -> Document:
    return {"imageDigest": stored.digest, **({"imageTag": tag} if tag else {})}


def _detail(place: Place, stored: Stored) -> Document:
    manifest = place.shelf.document(stored.digest)
    children = [each["digest"] for each in manifest.get("manifests", [])]
    parts = [manifest, *map(place.shelf.document, children)]
    artifact = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType")
    return {
        **place.named,
        "imageDigest": stored.digest,
        **({"imageTags": list(stored.tags)} if stored.tags else {}),
        "imageSizeInBytes": max(map(storage.size_bytes, parts)),  # of a list: its largest's
        "imagePushedAt": round(stored.pushed_at, 3),
        "imageManifestMediaType": _media_type(manifest),
        **({"artifactMediaType": artifact} if artifact else {}),
        "imageStatus": "ACTIVE",
    }


def _media_type(manifest: Document) -> str:
    """OCI's manifests need not say what they are."""
    kind = "index" if "manifests" in manifest else "manifest"
    return str(manifest.get("mediaType") or f"application/vnd.oci.image.{kind}.v1+json")


def _failure(asked: Document, code: str) -> Document:
    return {"imageId": asked, "failureCode": code, "failureReason": _REASONS[code]}


def _not_found(place: Place, asked: Document, code: str) -> Exception:
    if code in ("MissingDigestAndTag", "InvalidImageDigest"):
        return InvalidParameterException(_REASONS[code])
    digest, tag = (f"'{asked.get(key, 'null')}'" for key in ("imageDigest", "imageTag"))
    return ImageNotFoundException(
        f"The image with imageId {{imageDigest:{digest}, imageTag:{tag}}} does not exist within "
        f"the repository with name '{place.repository}' in the registry with id '{place.account}'"
    )
