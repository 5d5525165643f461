"""From a folder to an endpoint and back, through the real platform."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelplex.cli import upload
from tests.cli.conftest import Command
from tests.support.models import make_archive
from tests.support.platform import Platform

pytestmark = pytest.mark.e2e


def test_a_folder_becomes_an_endpoint(command: Command, endpoint: str) -> None:
    """Archives keep their place under the prefix; a folder is packed as one model."""
    for model, weights in (("one", "one"), ("deep/two", "two"), ("three", "three")):
        answer = command.ok("invoke", endpoint, f"{model}.tar.gz", stdin=b"hello")
        assert json.loads(answer)["weights"] == weights


def test_deploy_and_delete_leave_nothing(
    command: Command, platform: Platform, models: Path
) -> None:
    """What `deploy` made is gone after `delete`, apart from the uploads; with --all those too."""
    answer = command.json("deploy", "brief", "--image", "echo", "--models", str(models))
    assert answer["EndpointStatus"] == "InService"
    deleted = command.json("delete", "brief")["deleted"]
    assert [each.split()[0] for each in deleted] == ["endpoint", "configuration", "model"]
    sagemaker = platform.client("sagemaker")
    assert sagemaker.list_models(NameContains="brief")["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains="brief")["EndpointConfigs"] == []
    url = f"s3://{upload.default_bucket(platform.region, '123456789012')}/brief/"
    command.ok("deploy", "brief", "--image", "echo", "--models", url, "--env", "A=b=c")
    (model,) = sagemaker.list_models(NameContains="brief")["Models"]
    container = sagemaker.describe_model(ModelName=model["ModelName"])["PrimaryContainer"]
    assert container["Environment"] == {"A": "b=c"}
    assert f"3 objects in {url}" in command.ok("delete", "brief", "--all", "--yes")


def test_all_asks_first(command: Command, endpoint: str) -> None:
    """`--all` deletes data, so it wants a yes."""
    result = command.run("delete", endpoint, "--all", stdin=b"n\n")
    assert result.exit_code == 1
    assert "Aborted" in result.stderr
    assert command.ok("invoke", endpoint, "one.tar.gz")


def test_a_single_model(command: Command, tmp_path: Path) -> None:
    """--single takes one archive (or its folder) and is invoked without a model's name."""
    archive = tmp_path / "solo.tar.gz"
    archive.write_bytes(make_archive({"weights.txt": "solo"}))
    command.ok("deploy", "single", "--image", "echo", "--models", str(archive), "--single")
    assert command.json("invoke", "single")["body"].startswith('{"weights": "solo"')
    command.ok("delete", "single", "--all", "--yes")


def test_a_failure_is_explained_and_undone(
    command: Command, platform: Platform, tmp_path: Path
) -> None:
    """The FailureReason is shown, and neither endpoint nor configuration nor model stays."""
    archive = tmp_path / "bad.tar.gz"
    archive.write_bytes(make_archive({"no-weights.txt": ""}))
    arguments = ["deploy", "failing", "--image", "echo", "--models", str(archive), "--single"]
    said = command.fails(*arguments)
    assert "failing failed: " in said
    assert said.index("failing failed: ") < said.index("modelplex logs failing")
    assert "deleted again" in said
    sagemaker = platform.client("sagemaker")
    assert sagemaker.list_models(NameContains="failing")["Models"] == []
    assert sagemaker.list_endpoint_configs(NameContains="failing")["EndpointConfigs"] == []
    assert "weights.txt" in command.ok("logs", "failing")  # logs outlive their endpoint


def test_an_unknown_image_leaves_nothing(
    command: Command, platform: Platform, models: Path
) -> None:
    """CreateModel refuses it; there is nothing to delete then."""
    said = command.fails("deploy", "other", "--image", "no-such", "--models", str(models))
    assert "no-such" in said
    assert platform.client("sagemaker").list_models(NameContains="other")["Models"] == []
    bucket = upload.default_bucket(platform.region, "123456789012")
    listed = platform.client("s3").list_objects_v2(Bucket=bucket, Prefix="other/")
    assert "Contents" not in listed  # refused before the upload, which can take long


def test_a_taken_name_is_refused_before_any_upload(command: Command, endpoint: str) -> None:
    """Models of a running endpoint are not overwritten by mistake."""
    said = command.fails("deploy", endpoint, "--image", "echo", "--models", "/no/such/folder")
    assert "already" in said


@pytest.mark.parametrize(
    ("models", "complaint"), [("/no/such/folder", "no such folder"), (".", "neither .tar.gz")]
)
def test_models_that_are_not_there(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: str,
    complaint: str,
) -> None:
    """A folder must be there and have models in it."""
    monkeypatch.chdir(tmp_path)
    assert complaint in command.fails("deploy", "x", "--image", "echo", "--models", models)


def test_a_bad_pair_is_refused(command: Command) -> None:
    """--env wants NAME=VALUE."""
    arguments = ["deploy", "x", "--image", "echo", "--models", "s3://b/", "--env", "A"]
    assert "NAME=VALUE" in command.fails(*arguments, code=2)
