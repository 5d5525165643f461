"""A whole modelplex for tests: `modelplex up` as a real process tree in a temporary folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from tests.support.processes import eventually, free_port, processes_of, tail

WITH_ME = ("setpriv", "--pdeathsig", "TERM")  # killed tests leave nothing behind either
COMMAND = str(Path(sys.executable).with_name("modelplex"))
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
ROLE = "arn:aws:iam::123456789012:role/modelplex"


class Platform:
    """One data folder and the `modelplex up` on it, which tests start, stop, kill and start again.

    `options` are flags of `up` beyond data folder and port. All clients are unmodified boto3.
    """

    region = "us-west-2"

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.port = free_port()
        self.options = options
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._up: subprocess.Popen[bytes] | None = None
        self._log = data.with_name(f"{data.name}.up.log")

    # -- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until its port answers; AssertionError with the log if it does not."""
        arguments = ["up", "--data", str(self.data), "--port", str(self.port), *self.options]
        with self._log.open("ab") as log:
            self._up = subprocess.Popen(
                [*WITH_ME, COMMAND, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._bare_environment(),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            assert self._up.poll() is None, f"up exited with {self._up.returncode}\n{self.logs()}"
            assert time.monotonic() < deadline, f"no answer at {self.endpoint}\n{self.logs()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, as an operator would; then nothing of it may be left."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of the parent of all; then nothing of it may be left either."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._up is None:
            return
        self._up.send_signal(how)
        try:
            self._up.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._up.kill()
            raise AssertionError(f"up survived {how.name}\n{self.logs()}") from None
        finally:
            self._up = None
        self.assert_no_process_left()

    def assert_no_process_left(self) -> None:
        """Nobody names the data folder any more; those who do are killed, after the complaint."""
        try:
            eventually(lambda: not processes_of(self.data), 15.0)
        except AssertionError:
            left = processes_of(self.data)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"processes left behind: {left}\n{self.logs()}") from None

    def answers(self) -> bool:
        """Whether the gateway answers its ping."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/ping", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def logs(self) -> str:
        """The end of everything that the platform wrote, for failure messages."""
        files = sorted(self.data.glob("logs/**/*.log")) + sorted(self.data.glob("logs/**/*.jsonl"))
        return "\n".join([tail(self._log), *(tail(path, 15) for path in files)])

    # -- speaking to it ------------------------------------------------------------------------

    @property
    def keys(self) -> dict[str, str]:
        """`access_key` and `secret_key`, as its first start made them."""
        document: dict[str, str] = json.loads((self.data / "credentials.json").read_text())
        return document

    def environment(self) -> dict[str, str]:
        """What `modelplex env` exports, over an environment without any AWS settings."""
        return {
            **self._bare_environment(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": self.keys["secret_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "MODELPLEX_DATA": str(self.data),
            "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
        }

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client for one service, pointed at the platform; no retries unless asked for."""
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=64)
        keys = {
            "aws_access_key_id": self.keys["access_key"],
            "aws_secret_access_key": self.keys["secret_key"],
        }
        wanted = {"endpoint_url": self.endpoint, "region_name": self.region, "config": config}
        return boto3.client(service, **{**wanted, **keys, **options})

    def cli(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 300.0) -> bytes:
        """Run a `modelplex` command on this data folder; AssertionError unless it succeeds."""
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            env={**self._bare_environment(), "MODELPLEX_DATA": str(self.data)},
            timeout=timeout_s,
        )
        complaint = f"modelplex {' '.join(arguments)}: exit {done.returncode}\n"
        assert done.returncode == 0, complaint + done.stdout.decode() + done.stderr.decode()
        return done.stdout

    def get(self, path: str) -> Any:
        """A signed GET of what AWS has no call for: `/modelplex/…`."""
        request = AWSRequest("GET", self.endpoint + path)
        credentials = Credentials(self.keys["access_key"], self.keys["secret_key"])
        SigV4Auth(credentials, "modelplex", self.region).add_auth(request)
        plain = urllib.request.Request(request.url, headers=dict(request.headers.items()))
        with urllib.request.urlopen(plain, timeout=30) as response:
            return json.load(response)

    def deploy(self, models: dict[str, bytes], *, image: str, instances: int = 1) -> Deployed:
        """Upload archives under a prefix of their own and put an endpoint in service over them."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        store = self.client("s3")
        store.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region}
        )
        for model, archive in models.items():
            store.put_object(Bucket=name, Key=f"models/{model}", Body=archive)
        container = {"Image": image, "Mode": "MultiModel", "ModelDataUrl": f"s3://{name}/models/"}
        return self.serve(name, container, instances)

    def serve(self, name: str, container: dict[str, Any], instances: int = 1) -> Deployed:
        """Create model, configuration and endpoint of one name; return when it is in service."""
        sagemaker = self.client("sagemaker")
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": instances,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
        return Deployed(self, name)

    @staticmethod
    def _bare_environment() -> dict[str, str]:
        ours = ("AWS_", "MODELPLEX_")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@dataclass(frozen=True, slots=True)
class Deployed:
    """An endpoint in service; its bucket, model and configuration carry the same name."""

    platform: Platform
    name: str

    def add(self, model: str, archive: bytes) -> None:
        """Put one more archive under the prefix."""
        store = self.platform.client("s3")
        store.put_object(Bucket=self.name, Key=f"models/{model}", Body=archive)

    def invoke(self, model: str, body: bytes = b"", **members: Any) -> Any:
        """InvokeEndpoint; the answer's JSON body."""
        runtime = self.platform.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(
            EndpointName=self.name, TargetModel=model, Body=body, **members
        )
        return json.loads(answer["Body"].read())

    def delete(self) -> None:
        """Delete the endpoint and wait until it is gone."""
        sagemaker = self.platform.client("sagemaker")
        sagemaker.delete_endpoint(EndpointName=self.name)
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=self.name)
