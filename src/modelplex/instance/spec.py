"""What one instance is told at its start: the document that control writes for it, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelplex.core.rules import Rule
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
    image: ImageSpec
    models_per_worker: int  # more than one: the image's handlers can share a process
    share_identical: bool  # the image's byte-identical models may share files and memory
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

    @property
    def temporary(self) -> Path:
        """The handlers' TMPDIR, emptied at every start."""
        return self.folder / "tmp"

    @property
    def shares_identical(self) -> bool:
        """Whether byte-identical models share files and memory: image and setting allow it."""
        return self.multi_model and self.share_identical and self.limits.share_identical

    @property
    def loads_max(self) -> int:
        """Loads at once: the setting, or as many as there are vCPUs."""
        return self.limits.loads_max or max(1, int(self.vcpus))

    def container_environment(self) -> dict[str, str]:
        """The handlers' environment: the user's over SageMaker's and over thread counts.

        A framework that starts a thread per core of the machine in each of fifty workers helps
        nobody: the counts follow the instance's vCPUs.
        """
        return {
            **dict.fromkeys(THREAD_VARIABLES, str(max(1, int(self.vcpus)))),
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "SAGEMAKER_REGION": self.region,
            "SAGEMAKER_MULTI_MODEL": "true" if self.multi_model else "false",
            **self.environment,
            "TMPDIR": str(self.temporary),
        }


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
        environment={str(key): str(value) for key, value in document["environment"].items()},
        multi_model=_choice(document, "mode", MULTI_MODEL, SINGLE_MODEL),
        cached=_choice(document, "cache", "Enabled", "Disabled"),
        model_data_url=str(document["model_data_url"]),
        memory_bytes=int(document["memory_bytes"]),
        disk_bytes=int(document["disk_bytes"]),
        vcpus=float(document["vcpus"]),
        s3=StoreKeys(**document["s3"]),
        file_roots=tuple(Path(root) for root in document["file_roots"]),
        limits=Settings.from_document(document["limits"], "limits of the spec"),
        wishes=_wishes(document.get("rules") or {"rules": [], "rejected": []}),
    )


def _image(document: Mapping[str, Any]) -> ImageSpec:
    return ImageSpec(
        folder=Path(document["folder"]),
        python=Path(document["python"]),
        handler=str(document["handler"]),
        preload=tuple(document["preload"]),
    )


def _choice(document: Mapping[str, Any], name: str, yes: str, no: str) -> bool:
    """Whether the member is `yes`; anything but `yes` or `no` is an error."""
    if document[name] not in (yes, no):
        raise SpecError(f"The spec's {name} must be {yes} or {no}, not {document[name]!r}.")
    return bool(document[name] == yes)
