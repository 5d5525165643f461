"""Makes `data/` in the current folder, which the notebook would fill with pretrained models.

    eval "$(modelplex env)"
    modelplex build -t demo-sagemaker-multimodel ./container
    python models.py

Making networks takes MXNet, and the image that will serve them has it: networks.py runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

IMAGE = "demo-sagemaker-multimodel:latest"
NETWORKS = Path(__file__).resolve().with_name("networks.py")


def python_of_image() -> str:
    """The interpreter of the image's environment, as the platform knows it."""
    session = Session()
    request = AWSRequest("GET", f"{os.environ['AWS_ENDPOINT_URL']}/modelplex/images")
    region = session.get_config_variable("region")
    SigV4Auth(session.get_credentials(), "modelplex", region).add_auth(request)
    signed = urllib.request.Request(str(request.url), headers=dict(request.headers.items()))
    with urllib.request.urlopen(signed, timeout=30) as response:
        images = {image["name"]: image["python"] for image in json.load(response)["images"]}
    if IMAGE not in images:
        sys.exit(
            f"there is no image {IMAGE}: modelplex build -t {IMAGE} {NETWORKS.parent}/container"
        )
    return str(images[IMAGE])


if __name__ == "__main__":
    if "AWS_ENDPOINT_URL" not in os.environ:
        sys.exit('AWS_ENDPOINT_URL is not set: eval "$(modelplex env)"')
    sys.exit(subprocess.run([python_of_image(), str(NETWORKS), "data"], check=False).returncode)
