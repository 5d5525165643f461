"""The whole story with real models: `make demo`, or `python examples/digits/demo.py`.

Starts a platform of its own, builds the image, trains and uploads twelve classifiers of handwritten
digits, puts an endpoint over them, invokes them, adds and updates models, makes mistakes, cleans
up. Every call of AWS is unmodified boto3; every figure in the tables at the end is the platform's.
What takes long (image, training) is kept in `.demo`, so that a second run is quick.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import preparations
import tables
from botocore.config import Config
from botocore.exceptions import ClientError
from preparations import Broken, Platform
from rich.console import Console
from rich.markup import escape
from rich.progress import track

IMAGE = "demo-digits"
PREFIX = "demo-digits"
REQUESTS = 100
ENOUGH = 0.85  # of the pictures named rightly, over all models; less, and something is broken
# An ml.m5.xlarge has 16 GiB: a hundredth of it holds the image and some four of these models.
INSTANCE_SCALE = "0.0125"


class Story:
    """The chapters, in order; `console` gets the telling, the rest is kept for the tables."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.models = folder / "models"
        self.later = folder / "later"
        self.pictures = folder / "pictures"
        self.labels: dict[str, int] = json.loads((self.pictures / "labels.json").read_text())
        self.requests: list[tables.Request] = []
        self.asked: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.name = "Demo-Digits-" + time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())
        self.sagemaker = boto3.client("sagemaker")
        self.runtime = boto3.client("sagemaker-runtime", config=Config(read_timeout=70))
        self.s3 = boto3.client("s3")
        self.region = boto3.Session().region_name
        self.account = boto3.client("sts").get_caller_identity()["Account"]
        self.bucket = f"sagemaker-{self.region}-{self.account}"

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str) -> None:
        """A line of the story."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    # -- before the endpoint -------------------------------------------------------------------

    def tidy(self) -> None:
        """Delete what a run that was interrupted has left: endpoints and uploaded models."""
        for endpoint in self.sagemaker.list_endpoints(NameContains="Demo-Digits-")["Endpoints"]:
            self.sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
        if self.bucket not in {each["Name"] for each in self.s3.list_buckets()["Buckets"]}:
            place = {"LocationConstraint": self.region}
            self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=place)
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{PREFIX}/")
        for item in found.get("Contents", []):
            self.s3.delete_object(Bucket=self.bucket, Key=item["Key"])

    def upload(self, folder: Path) -> list[str]:
        """Put every archive of a folder under the prefix; their names as TargetModel has them."""
        archives = sorted(folder.rglob("*.tar.gz"))
        for archive in archives:
            key = f"{PREFIX}/{archive.relative_to(folder)}"
            self.s3.upload_file(str(archive), self.bucket, key)
        return [str(archive.relative_to(folder)) for archive in archives]

    def create(self) -> None:
        """The notebook's three calls, and its waiter."""
        role = boto3.client("iam").get_role(RoleName="demo")["Role"]["Arn"]
        container = {
            "Image": f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/{IMAGE}:latest",
            "ModelDataUrl": f"https://s3-{self.region}.amazonaws.com/{self.bucket}/{PREFIX}/",
            "Mode": "MultiModel",
        }
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": self.name,
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": 2,
            "InitialVariantWeight": 1,
        }
        client, name = self.sagemaker, self.name
        client.create_model(ModelName=name, ExecutionRoleArn=role, Containers=[container])
        client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        client.create_endpoint(EndpointName=name, EndpointConfigName=name)
        began = time.perf_counter()
        client.get_waiter("endpoint_in_service").wait(EndpointName=name)
        seconds = time.perf_counter() - began
        self.say(f"{name}: 2 x ml.m5.xlarge in service after {seconds:.1f} s")

    # -- invoking ------------------------------------------------------------------------------

    def invoke(self, model: str, picture: str) -> dict[str, Any]:
        """Ask one model for one picture, and hold its answer against the true label."""
        answer = self.runtime.invoke_endpoint(
            EndpointName=self.name,
            TargetModel=model,
            ContentType="image/png",
            Accept="application/json",
            Body=(self.pictures / picture).read_bytes(),
        )
        said: dict[str, Any] = json.loads(answer["Body"].read())
        self.requests.append(tables.Request.of(model, answer))
        self.asked[model] += 1
        self.right[model] += said["digit"] == self.labels[picture]
        return said

    def show(self, model: str, picture: str) -> None:
        """One request, told in a line."""
        said = self.invoke(model, picture)
        request = self.requests[-1]
        steps = ", ".join(f"{step} {ms:.1f}" for step, ms in request.milliseconds.items() if ms)
        truth = self.labels[picture]
        self.say(
            f"{tables.short(model)} sees a {said['digit']}, it is a {truth} · "
            f"[cyan]{request.start}[/cyan]: {steps} ms"
        )

    def spread(self, models: list[str]) -> None:
        """100 requests, model and picture chosen at random."""
        pictures = list(self.labels)
        shown = {"console": self.console, "disable": not self.console.is_terminal}
        for _ in track(range(REQUESTS), "  invoking", transient=True, **shown):
            self.invoke(random.choice(models), random.choice(pictures))
        right, asked = sum(self.right.values()), sum(self.asked.values())
        self.say(f"{REQUESTS} answers; so far {right} of {asked} pictures named rightly")

    def mistake(self, what: str, **members: Any) -> None:
        """A request that cannot be answered, and the error that boto3 raises."""
        try:
            self.runtime.invoke_endpoint(EndpointName=self.name, **members)
        except ClientError as error:
            text = f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
            self.say(f"{what} → [yellow]{escape(text)}[/yellow]")
        else:
            raise Broken(f"{what}: this should have been refused, and was answered")

    def clean_up(self) -> None:
        """Delete the endpoint, its configuration and the model; wait until it is gone."""
        self.sagemaker.delete_endpoint(EndpointName=self.name)
        self.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=self.name)
        self.sagemaker.delete_endpoint_config(EndpointConfigName=self.name)
        self.sagemaker.delete_model(ModelName=self.name)


def tell(console: Console, platform: Platform, folder: Path) -> None:
    """All chapters, with the tables before the clean-up takes away what they show."""
    console.print("[bold]Building the image and training the models[/bold]")
    python = preparations.build_image(IMAGE)
    preparations.train(python, folder / "trained")

    story = Story(console, folder / "trained")
    story.tidy()
    story.chapter("Uploading the models to S3")
    models = story.upload(story.models)
    story.say(f"{len(models)} archives under s3://{story.bucket}/{PREFIX}/")

    story.chapter("Creating a multi-model endpoint")
    story.create()
    endpoint = f"endpoints/{story.name}"
    before = platform.ask(f"{endpoint}/instances")["instances"]

    story.chapter("Invoking one model twice, then another")
    for model in ("logistic_regression.tar.gz", "logistic_regression.tar.gz", models[0]):
        story.show(model, "000.png")

    story.chapter(f"Invoking {len(models)} models {REQUESTS} times, at random")
    story.spread(models)

    story.chapter("Adding a model, and updating one under a new name; the endpoint is not touched")
    for model in story.upload(story.later):
        story.show(model, "001.png")

    story.chapter("Making mistakes")
    picture = (story.pictures / "000.png").read_bytes()
    story.mistake("a model that is not there", TargetModel="nobody.tar.gz", Body=picture)
    story.mistake("no TargetModel", Body=picture)
    story.mistake("no picture", TargetModel="logistic_regression.tar.gz", Body=b"hello")
    story.show("logistic_regression.tar.gz", "002.png")

    report(story, platform, endpoint, before, folder)
    story.chapter("Cleaning up")
    story.clean_up()
    story.say("endpoint, configuration and model are deleted")


def report(
    story: Story, platform: Platform, endpoint: str, before: list[tables.Row], folder: Path
) -> None:
    """The tables, and the same as data in `report.json`. Raises Broken for wrong predictions."""
    events = platform.ask(f"{endpoint}/events")["events"]
    models = platform.ask(f"{endpoint}/models")["models"]
    after = platform.ask(f"{endpoint}/instances")["instances"]
    score = sum(story.right.values()) / sum(story.asked.values())
    for table in (
        tables.starts(story.requests),
        tables.evictions(events),
        tables.memory(before, after),
        tables.residents(models, story.asked, story.right),
    ):
        story.console.print()
        story.console.print(table)
    document = {"events": events, "models": models, "before": before, "after": after}
    (folder / "report.json").write_text(json.dumps({**document, "right": score}, indent=1))
    story.say(f"\n  {score:.1%} of all pictures were named rightly")
    if score < ENOUGH:
        raise Broken(f"only {score:.1%} of the predictions agree with the labels")


def main() -> int:
    """Run the demo; the exit status says whether all of it worked."""
    parser = argparse.ArgumentParser(description="The whole story of modelplex, with real models.")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where all is kept")
    folder = parser.parse_args().folder.absolute()
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.perf_counter()
    try:
        with preparations.running(folder, "--instance-scale", INSTANCE_SCALE) as platform:
            tell(console, platform, folder)
    except Broken as problem:
        console.print(str(problem), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    console.print(
        f"\nAll of it took {time.perf_counter() - began:.0f} s."
        f" What the next run can use is in {folder}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
