"""Writes `docs/reference/coverage.md`: which AWS operations modelplex serves, from the models."""

from __future__ import annotations

import sys
from pathlib import Path

from modelplex.aws import shapes

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "coverage.md"

SERVICES = {
    "sagemaker": "Amazon SageMaker",
    "sagemaker-runtime": "Amazon SageMaker Runtime",
    "sts": "AWS Security Token Service",
    "iam": "AWS Identity and Access Management",
    "logs": "Amazon CloudWatch Logs",
    "ecr": "Amazon Elastic Container Registry",
}

HEAD = """\
# Which AWS operations are served

Written by `scripts/coverage_table.py` from the service models in `src/modelplex/aws/models/`.
*Served*: requests are checked against the service's own model, answers have its shape. *Typed
error*: the call is answered with HTTP 501 and the code `NotImplemented`, naming the operation and
what is served instead. Amazon S3 is not in this table: its calls go to the object store as they
are (by default rclone's).
"""


def page() -> str:
    """The whole page."""
    sections = [_section(shapes.load(service), title) for service, title in SERVICES.items()]
    return "\n".join([HEAD, _summary(), *sections])


def _summary() -> str:
    rows = ["| service | served | typed error |", "|---|--:|--:|"]
    for service, title in SERVICES.items():
        model = shapes.load(service)
        rows.append(f"| {title} | {len(model.operations)} | {len(model.unimplemented)} |")
    return "\n".join(rows) + "\n"


def _section(model: shapes.ServiceModel, title: str) -> str:
    """One service: a row for each served operation, and the others by name."""
    rows = ["| operation | answer |", "|---|---|"]
    rows += [f"| {name} | served |" for name in sorted(model.operations)]
    others = ", ".join(sorted(model.unimplemented))
    version = f"API version {model.metadata['apiVersion']}, from botocore {model.botocore}."
    table = "\n".join(rows)
    return f"## {title}\n\n{version}\n\n{table}\n\nA typed error: {others}.\n"


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
