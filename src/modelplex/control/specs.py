"""The documents that instances start from: everything one has to know, in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from modelplex.aws import arns
from modelplex.control import capacity
from modelplex.control.deployments import Deployment, Variant
from modelplex.control.provider import ProviderFailed
from modelplex.control.records import Document
from modelplex.images.store import BuiltImage, ImageStore
from modelplex.settings import Settings


@dataclass(frozen=True, slots=True)
class Specs:
    """Writes an instance's document of internal-api.md."""

    settings: Settings
    images: ImageStore

    def socket(self, instance: str) -> str:
        """Where an instance listens."""
        return str(self.settings.data / "run" / f"{instance}.sock")

    def document(self, deployment: Deployment, variant: Variant, instance: str) -> Document:
        """Everything one instance is told. Raises ProviderFailed when its image is gone."""
        settings, data = self.settings, self.settings.data
        image = self._image(variant)
        size = capacity.of(settings, variant.instance_type)
        group = arns.log_group(deployment.name)
        return {
            "id": instance,
            "endpoint": deployment.name,
            "variant": variant.name,
            "account": settings.account,
            "region": settings.region,
            "socket": self.socket(instance),
            "folder": str(data / "instances" / instance),
            "log_group": group,
            "log_stream": f"{variant.name}/{instance}",
            "log_folder": f"{data / 'logs'}{group}",
            "image": {
                "name": image.name,
                "folder": str(image.folder),
                "python": str(image.python),
                "handler": image.handler,
                "preload": list(image.preload),
                "models_per_worker": image.models_per_worker,
                "share_identical": image.share_identical,
            },
            "environment": {**image.environment, **variant.environment},
            "mode": "MultiModel" if variant.multi_model else "SingleModel",
            "cache": variant.cache,
            "model_data_url": variant.model_data_url,
            "memory_bytes": size.memory_bytes,
            "disk_bytes": size.disk_bytes,
            "vcpus": size.vcpus,
            "s3": self._store(),
            "file_roots": list(settings.file_roots),
            "limits": {**settings.public(), "model_load_timeout_s": variant.load_timeout_s},
        }

    def _image(self, variant: Variant) -> BuiltImage:
        image = self.images.read(variant.image_hash, variant.image_name)
        if image is None:
            raise ProviderFailed(
                f"The image {variant.image_name} ({variant.image_hash[:12]}) is no longer built. "
                "Build it again with modelplex build."
            )
        return image

    def _store(self) -> Document:
        settings = self.settings
        if settings.s3_endpoint:
            return {
                "endpoint": settings.s3_endpoint,
                "region": settings.s3_region or settings.region,
                "access_key": settings.s3_access_key,
                "secret_key": settings.s3_secret_key,
            }
        return {
            "endpoint": _embedded(settings.data / "run" / "s3.json"),
            "region": settings.region,
            "access_key": settings.access_key,
            "secret_key": settings.secret_key,
        }


def _embedded(path: Path) -> str:
    """The URL of the embedded store. Raises ProviderFailed while it has none."""
    try:
        address = str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProviderFailed(f"The embedded store's address cannot be read: {error!r}") from error
    return "http://" + address.removeprefix("tcp:")
