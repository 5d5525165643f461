"""Every process killed with SIGKILL amid traffic: what clients see, and what is left."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import SMALL, StartPlatform
from tests.e2e.traffic import Seen, traffic
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform
from tests.support.processes import eventually

pytestmark = pytest.mark.e2e

MODELS = [f"m{n}.tar.gz" for n in range(6)]


@pytest.fixture
def deployed(start_platform: StartPlatform) -> Deployed:
    """Two instances over six echo models, on a platform of its own."""
    platform = start_platform(*SMALL)
    source = make_image(platform.data.with_name("image"))
    platform.cli("build", "-t", "echo", str(source))
    archives = {model: make_archive({"weights.txt": model}) for model in MODELS}
    endpoint = platform.deploy(archives, image="echo", instances=2)
    for model in MODELS:
        endpoint.invoke(model)
    return endpoint


def instances(deployed: Deployed) -> list[dict[str, object]]:
    rows = deployed.platform.get(f"/modelplex/endpoints/{deployed.name}/instances")
    return list(rows["instances"])


def rows(deployed: Deployed) -> list[dict[str, object]]:
    return list(deployed.platform.get(f"/modelplex/endpoints/{deployed.name}/models")["models"])


def supervised(platform: Platform) -> dict[str, dict[str, object]]:
    """The supervisor's processes by name."""
    return dict(platform.get("/modelplex/status")["processes"])


def kill(pid: object) -> None:
    os.kill(int(str(pid)), signal.SIGKILL)


def enough(seen: Seen, more: int = 100) -> None:
    """Wait until the clients have had so many more answers."""
    wanted = seen.total + more
    eventually(lambda: seen.total >= wanted, 60.0, f"{more} more answers: {seen}")


def test_a_killed_worker_costs_at_most_what_it_was_answering(deployed: Deployed) -> None:
    """The one request it was answering can fail; the model comes back, others notice nothing."""
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        victim = next(row for row in rows(deployed) if row["model"] == MODELS[0])
        kill(victim["pid"])
        enough(seen)
    assert not seen.wrong
    assert set(seen.failures) <= {"ModelError"}, seen.details
    assert seen.failures.total() <= 1, seen.details
    assert deployed.invoke(MODELS[0])["pid"] != victim["pid"]


def test_a_killed_zygote_hurts_no_loaded_model(deployed: Deployed) -> None:
    """Loaded models answer on; a new model loads from a new zygote."""
    workers = {row["pid"] for row in rows(deployed)}
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        for instance in instances(deployed):
            kill(instance["zygote_pid"])
        enough(seen)
        deployed.add("new.tar.gz", make_archive({"weights.txt": "new.tar.gz"}))
        assert deployed.invoke("new.tar.gz")["weights"] == "new.tar.gz"
    assert not seen.wrong
    assert not seen.failures, seen.details
    assert workers <= {row["pid"] for row in rows(deployed)}


def test_a_killed_instance_is_replaced_and_the_other_one_answers_meanwhile(
    deployed: Deployed,
) -> None:
    """Only requests in the dead instance's hands may fail, at most one per client."""
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        victim = instances(deployed)[0]
        kill(victim["pid"])
        enough(seen, 300)
        eventually(lambda: victim["pid"] not in {i.get("pid") for i in instances(deployed)})
        eventually(lambda: all(i.get("status") == "Healthy" for i in instances(deployed)))
        enough(seen)
    assert not seen.wrong
    assert set(seen.failures) <= {"ServiceUnavailable"}, seen.details
    assert seen.failures.total() <= 4, seen.details
    sagemaker = deployed.platform.client("sagemaker")
    status = sagemaker.describe_endpoint(EndpointName=deployed.name)["EndpointStatus"]
    assert status == "InService"


def test_a_killed_store_is_restarted_and_loses_nothing(deployed: Deployed) -> None:
    """Loaded models answer on, objects are still there, and a cold model can be fetched again."""
    platform = deployed.platform
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        before = supervised(platform)["s3"]["pid"]
        kill(before)
        enough(seen)
        eventually(lambda: supervised(platform)["s3"]["pid"] not in (before, None))
    assert not seen.wrong
    assert not seen.failures, seen.details
    archive = make_archive({"weights.txt": "late.tar.gz"})
    store = platform.client("s3", config=None)
    store.put_object(Bucket=deployed.name, Key="models/late.tar.gz", Body=archive)
    assert deployed.invoke("late.tar.gz")["weights"] == "late.tar.gz"
    listed = store.list_objects_v2(Bucket=deployed.name)["KeyCount"]
    assert listed == len(MODELS) + 1


def test_a_killed_control_stops_changes_not_answers(deployed: Deployed) -> None:
    """Invocations go on without control; afterwards it knows everything it knew."""
    platform = deployed.platform
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        instances_before = {i["pid"] for i in instances(deployed)}
        before = supervised(platform)["control"]["pid"]
        kill(before)
        enough(seen)
        eventually(lambda: control_is_back(platform, before))
    assert not seen.wrong
    assert not seen.failures, seen.details
    eventually(lambda: {i.get("pid") for i in instances(deployed)} == instances_before)


def control_is_back(platform: Platform, before: object) -> bool:
    try:
        now = supervised(platform).get("control")  # not yet told by the supervisor
    except OSError:  # the gateway's 503 while control starts
        return False
    return now is not None and now["pid"] != before


def test_kill_9_of_the_parent_leaves_no_process_and_loses_nothing(deployed: Deployed) -> None:
    """Everything dies with it, even in traffic; after `up` all is there and answers."""
    platform = deployed.platform
    with traffic(deployed, MODELS) as seen:
        enough(seen)
        platform.kill()
    assert not seen.wrong
    platform.start()
    sagemaker = platform.client("sagemaker")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=deployed.name)
    assert [deployed.invoke(model)["weights"] for model in MODELS] == MODELS
    assert sagemaker.describe_model(ModelName=deployed.name)["ModelName"] == deployed.name


def test_a_hung_handler_does_not_keep_the_platform_alive(deployed: Deployed) -> None:
    """kill -9 of the parent while a handler sleeps: the kernel ends the worker too."""
    with traffic(deployed, [MODELS[0]], body=b"sleep 50"):
        eventually(lambda: any(row["in_flight"] for row in rows(deployed)))
        deployed.platform.kill()
