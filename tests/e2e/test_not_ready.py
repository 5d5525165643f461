"""A model that is slow to load, as boto3 sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.conftest import StartPlatform
from tests.support.models import make_archive, make_image
from tests.support.processes import eventually

pytestmark = pytest.mark.e2e

# Loads when somebody has made the file that its weights name.
SLOW_HANDLER = """
import time
from pathlib import Path


def handle(data, context):
    while not Path(Path("weights.txt").read_text()).exists():
        time.sleep(0.01)
    return ["[]"] if data else None
"""


def test_a_slow_model_is_not_ready_and_then_it_is(
    start_platform: StartPlatform, tmp_path: Path
) -> None:
    """429 after `model_ready_timeout_s`, once and for each who waits; the load goes on meanwhile.

    A retry while it loads is told the same; a later one is answered, by that one load.
    """
    config = tmp_path / "impatient.toml"
    config.write_text("model_ready_timeout_s = 1.0\n")
    platform = start_platform("--memory-mib", "1024", "--disk-mib", "1024", "--config", str(config))
    platform.cli("build", "-t", "slow", str(make_image(tmp_path / "slow", SLOW_HANDLER)))
    archive = make_archive({"weights.txt": str(tmp_path / "go")})
    deployed = platform.deploy({"m.tar.gz": archive}, image="slow")
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            deployed.invoke("m.tar.gz")
        response = caught.value.response
        assert response["Error"]["Code"] == "ModelNotReadyException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert int(response["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) > 0

    def rows() -> list[tuple[str, int, int]]:
        found = platform.get(f"/modelplex/endpoints/{deployed.name}/models")["models"]
        return [(row["state"], row["loads"], row["hits"]) for row in found]

    eventually(lambda: rows() == [("loading", 0, 0)])
    (tmp_path / "go").touch()
    eventually(lambda: rows() == [("loaded", 1, 0)])
    assert deployed.invoke("m.tar.gz") == []
    eventually(lambda: rows() == [("loaded", 1, 1)])
