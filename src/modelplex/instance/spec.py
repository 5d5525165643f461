"""What one instance is told at its start: the document that control writes for it, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelplex.core.rules import Rule
from modelplex.instance.containers import images
from modelplex.instance.containers.images import CommandImage, OciImage
from modelplex.settings import Settings, SettingsError
from modelplex.workers.image import ImageSpec

MULTI_MODEL, SINGLE_MODEL = "MultiModel", "SingleModel"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class SpecError(Exception):
    """The document cannot be an instance's; the message names the member."""


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """Where the S3 store is and how to speak to it; `endpoint` is a URL."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the owner of the endpoint wants for its models."""

    rules: tuple[Rule, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()  # models and their versions that must not serve


@dataclass(frozen=True, slots=True)
class Spec:
    """One instance. `limits` are the platform's settings; paths are absolute."""

    id: str
    endpoint: str
    variant: str
    account: str
    region: str
    socket: Path
    folder: Path
    log_group: str
    log_stream: str
    log_folder: Path
    image: ImageSpec | CommandImage | OciImage
    models_per_worker: int  # more than one: the image's handlers can share a process
    share_identical: bool  # the image's byte-identical models may share files and memory
    batch_max: int  # requests that the image's handlers answer at once
    environment: dict[str, str]
    multi_model: bool
    cached: bool
    model_data_url: str
    memory_bytes: int
    disk_bytes: int
    vcpus: float
    s3: StoreKeys
    file_roots: tuple[Path, ...]
    limits: Settings
    wishes: Wishes
    health_timeout_s: float  # from a container's start to its first good ping

    @property
    def temporary(self) -> Path:
        """The handlers' TMPDIR, emptied at every start."""
        return self.folder / "tmp"

    @property
    def shares_identical(self) -> bool:
        """Whether byte-identical models share files and memory: image and setting allow it.

        Containers share no memory between them, and may write into what is theirs.
        """
        allowed = self.share_identical and self.limits.share_identical
        return self.multi_model and allowed and isinstance(self.image, ImageSpec)

    @property
    def batched(self) -> int:
        """Requests that a worker may be given at once; a shared one gets them one by one."""
        alone = self.models_per_worker == 1 or not self.multi_model
        return self.batch_max if alone and isinstance(self.image, ImageSpec) else 1

    @property
    def loads_max(self) -> int:
        """Loads at once: the setting, or as many as there are vCPUs."""
        return self.limits.loads_max or max(1, int(self.vcpus))

    @property
    def load_timeout_s(self) -> float:
        """For fetch and load together; a single-model container starts with its model."""
        limits = self.limits
        if self.multi_model or isinstance(self.image, ImageSpec):
            return limits.model_load_timeout_s
        pull_s = limits.image_pull_timeout_s if isinstance(self.image, OciImage) else 0.0
        return limits.model_load_timeout_s + self.health_timeout_s + pull_s

    def container_environment(self) -> dict[str, str]:
        """The handlers' environment: the user's over SageMaker's and over thread counts.

        A framework that starts a thread per core of the machine in each of fifty workers helps
        nobody: the counts follow the instance's vCPUs. TMPDIR is nothing to an engine's container.
        """
        environment = {
            **dict.fromkeys(THREAD_VARIABLES, str(max(1, int(self.vcpus)))),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "SAGEMAKER_REGION": self.region,
            "SAGEMAKER_MULTI_MODEL": "true" if self.multi_model else "false",
            "MODELPLEX_MODEL_CODE": self.limits.model_code,
            **self.environment,
        }
        if not isinstance(self.image, OciImage):
            environment["TMPDIR"] = str(self.temporary)
        return environment


def read(path: Path) -> Spec:
    """The spec in a file. Raises SpecError, also when the file cannot be read."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} is no readable spec: {error}.") from error
    return parse(document)


def parse(document: Mapping[str, Any]) -> Spec:
    """The spec out of its document. Raises SpecError."""
    try:
        return _parse(document)
    except KeyError as error:
        raise SpecError(f"The spec lacks the member {error}.") from None
    except (TypeError, ValueError, AttributeError, SettingsError) as error:
        raise SpecError(f"The spec has an impossible value: {error}.") from None


def parse_wishes(document: Any) -> Wishes:
    """The owner's wishes out of their document. Raises SpecError."""
    try:
        return _wishes(document)
    except KeyError as error:
        raise SpecError(f"The rules lack the member {error}.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"The rules have an impossible value: {error}.") from None


def _wishes(document: Any) -> Wishes:
    return Wishes(
        rules=tuple(Rule(**each) for each in document["rules"]),
        rejected=tuple((str(e["model"]), str(e["version"])) for e in document["rejected"]),
    )


def _parse(document: Mapping[str, Any]) -> Spec:
    return Spec(
        id=str(document["id"]),
        endpoint=str(document["endpoint"]),
        variant=str(document["variant"]),
        account=str(document["account"]),
        region=str(document["region"]),
        socket=Path(document["socket"]),
        folder=Path(document["folder"]),
        log_group=str(document["log_group"]),
        log_stream=str(document["log_stream"]),
        log_folder=Path(document["log_folder"]),
        image=_image(document["image"]),
        models_per_worker=int(document["image"].get("models_per_worker", 1)),
        share_identical=document["image"].get("share_identical", True) is not False,
        batch_max=int(document["image"].get("batch_max", 1)),
        environment={str(key): str(value) for key, value in document["environment"].items()},
        multi_model=_choice(document, "mode", MULTI_MODEL, SINGLE_MODEL),
        cached=_choice(document, "cache", "Enabled", "Disabled"),
        model_data_url=str(document["model_data_url"]),
        memory_bytes=int(document["memory_bytes"]),
        disk_bytes=int(document["disk_bytes"]),
        vcpus=float(document["vcpus"]),
        s3=StoreKeys(**document["s3"]),
        file_roots=tuple(Path(root) for root in document["file_roots"]),
        limits=(limits := Settings.from_document(document["limits"], "limits of the spec")),
        health_timeout_s=float(document.get("health_timeout_s", limits.startup_timeout_s)),
        wishes=_wishes(document.get("rules") or {"rules": [], "rejected": []}),
    )


def _image(document: Mapping[str, Any]) -> ImageSpec | CommandImage | OciImage:
    if document.get("kind", "handler") != "handler":
        return images.parse(document)
    return ImageSpec(
        folder=Path(document["folder"]),
        python=Path(document["python"]),
        handler=str(document["handler"]),
        preload=tuple(document["preload"]),
        prepare=str(document.get("prepare", "")),
    )


def _choice(document: Mapping[str, Any], name: str, yes: str, no: str) -> bool:
    """Whether the member is `yes`; anything but `yes` or `no` is an error."""
    if document[name] not in (yes, no):
        raise SpecError(f"The spec's {name} must be {yes} or {no}, not {document[name]!r}.")
    return bool(document[name] == yes)
