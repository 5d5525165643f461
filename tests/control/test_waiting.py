"""Who is held, and until when."""

from __future__ import annotations

import asyncio

import pytest

from modelplex.control.waiting import Changes, is_waiter

NEW = "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux lang/python#3.11.2 {} Botocore/1.44.5"


@pytest.mark.parametrize(
    ("user_agent", "held"),
    [
        (NEW.format("m/Z,B,b cfg/retry-mode#legacy"), True),
        (NEW.format("m/B cfg/retry-mode#legacy"), True),
        (NEW.format("m/Z,b cfg/retry-mode#legacy"), False),
        (NEW.format("cfg/retry-mode#legacy"), False),
        ("Boto3/1.28.1 Python/3.9 Linux/5 Botocore/1.31.1", True),
        ("Boto3/1.36.9 md/Botocore#1.36.9 ua/2.0 m/Z,b Botocore/1.36.9", True),
        ("aws-cli/2.31.0 md/awscrt#0.27 ua/2.1 m/C md/prompt#off", False),
        ("aws-cli/2.31.0 md/awscrt#0.27 ua/2.1 m/C md/command#sagemaker.wait.endpoint", True),
        ("AWS-SageMaker-Python-SDK/2.257.7 Python/3.11 " + NEW.format("m/Z"), True),
        (NEW.format("m/Z") + " lib/AWS-SageMaker-Python-SDK#2.257.7", True),
        ("aws-sdk-go-v2/1.32.4 os/linux lang/go#1.23.2 m/B", True),
        ("aws-sdk-go-v2/1.32.4 os/linux lang/go#1.23.2 m/E", False),
        ("curl/8", False),
        ("", False),
    ],
)
def test_a_waiter_is_known_by_its_user_agent(user_agent: str, held: bool) -> None:
    """Botocore's mark since 1.37, every older botocore, and the SageMaker SDK."""
    assert is_waiter(user_agent) is held


async def test_a_held_question_is_answered_at_the_change() -> None:
    """The bell wakes everyone, and only those whose answer has changed return."""
    changes, pending = Changes(), {"a", "b"}
    held = {
        name: asyncio.create_task(changes.hold(lambda name=name: name in pending, 60.0))
        for name in pending
    }
    await asyncio.sleep(0)
    pending.discard("a")
    changes.ring()
    await held["a"]
    assert not held["b"].done()
    pending.discard("b")
    changes.ring()
    await held["b"]


async def test_a_question_is_not_held_for_ever() -> None:
    """After the limit it returns, pending or not; and at once when nothing is pending."""
    await Changes().hold(lambda: True, 0.01)
    await Changes().hold(lambda: False, 60.0)
