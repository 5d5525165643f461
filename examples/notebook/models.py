"""Makes `data/` in the current folder, which the notebook would fill with pretrained models.

    eval "$(modelplex env)"
    modelplex build -t demo-sagemaker-multimodel ./container
    python models.py

Making networks takes MXNet, and the image that will serve them has it: networks.py runs there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

IMAGE = "demo-sagemaker-multimodel:latest"
NETWORKS = Path(__file__).resolve().with_name("networks.py")


def python_of_image() -> str:
    """The interpreter of the image's environment, as `modelplex images` tells it."""
    listed = subprocess.run(["modelplex", "images", "--json"], stdout=subprocess.PIPE, check=True)
    # Built-in images are listed before they are built, when they have no interpreter yet.
    images = {image["name"]: image.get("interpreter") for image in json.loads(listed.stdout)}
    if IMAGE not in images:
        sys.exit(
            f"there is no image {IMAGE}: modelplex build -t {IMAGE} {NETWORKS.parent}/container"
        )
    return str(images[IMAGE])


if __name__ == "__main__":
    sys.exit(subprocess.run([python_of_image(), str(NETWORKS), "data"], check=False).returncode)
