"""What clients are told when something went wrong, in SageMaker's words and errors.

The words are those that AWS's users quote (field.md 1.4). Where SageMaker names a CloudWatch page,
the log group and stream of this platform stand: they are what `aws logs tail` takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelplex.aws import arns
from modelplex.aws.errors import (
    ModelError,
    ModelNotReadyException,
    ServiceError,
    ServiceUnavailable,
    ValidationError,
)
from modelplex.core.events import Refusal
from modelplex.core.keys import name_of
from modelplex.instance.spec import Spec

NO_ANSWER = 0  # OriginalStatusCode when the container did not answer
SERVER_ERROR = 500
OUT_OF_MEMORY = 507
MESSAGE_MAX = 4096  # characters of a container's message that are passed on: its begin and its end
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container model. Review the "
    "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)


@dataclass(frozen=True, slots=True)
class Answers:
    """The error answers of one instance."""

    spec: Spec

    def refused(self, model: str, refusal: Refusal, failure: object) -> ServiceError:
        """Why the request never reached its model. `failure`: an earlier error, or a sentence."""
        match refusal, failure:
            case _, ServiceError():
                return failure
            case Refusal.NOT_READY, _:
                return self._not_ready(model)
            case Refusal.QUEUE_FULL, _:
                return ServiceUnavailable(
                    f"Too many requests are waiting for model {model} of endpoint "
                    f"{self.spec.endpoint}. Slow down, and try again."
                )
            case Refusal.OVERLOADED, _:
                return ServiceUnavailable(
                    f"Model {model} of endpoint {self.spec.endpoint} is asked for more often than "
                    "it answers: this request would wait for too long. Slow down, and try again."
                )
            case Refusal.OUT_OF_MEMORY, _:
                return self.container_error(model, OUT_OF_MEMORY, f"Out of resources: {failure}")
            case _:
                return self.container_error(model, SERVER_ERROR, f"Failed to load: {failure}")

    def _not_ready(self, model: str) -> ServiceError:
        return ModelNotReadyException(
            f"Model {model} of endpoint {self.spec.endpoint} is not ready for inference: it is "
            "still being downloaded or loaded, which goes on. Try again."
        )

    def container_error(self, model: str, status: int, message: str) -> ServiceError:
        """The container answered `status`, or 0: it did not answer."""
        spec = self.spec
        side = "client" if 400 <= status < 500 else "server"
        shown = message
        if len(message) > MESSAGE_MAX:  # what a program says last is often the reason
            shown = f"{message[: MESSAGE_MAX // 2]} … {message[-MESSAGE_MAX // 2 :]}"
        stream = f"{spec.log_stream}/{name_of(model)}"
        return ModelError(
            f'Received {side} error ({status}) from model with message "{shown}". See log group '
            f"{spec.log_group}, log stream {stream} in account {spec.account} for more "
            "information.",
            status,
            shown,
            arns.log_stream_arn(spec.account, spec.region, spec.log_group, stream),
        )

    def timed_out(self, model: str) -> ServiceError:
        """The handler did not answer in time."""
        return self.container_error(model, NO_ANSWER, TIMED_OUT)

    def died(self, model: str, how: str) -> ServiceError:
        """The worker ended while it had the request; `how` says so."""
        return self.container_error(model, SERVER_ERROR, how)

    def missing_target(self) -> ServiceError:
        """A multi-model endpoint was not told the model."""
        return ValidationError(
            f"Request to the multi-model endpoint {self.spec.endpoint} is missing a target model "
            "header. Set TargetModel to the archive's path below the endpoint's ModelDataUrl."
        )

    def unexpected_target(self) -> ServiceError:
        """A single-model endpoint was told a model."""
        return ValidationError(
            f"Endpoint {self.spec.endpoint} is not a multi-model endpoint and does not support "
            "target model header."
        )
