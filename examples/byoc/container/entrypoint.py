"""What the container runs: `serve` is SageMaker's word; any other words are a command."""

import os
import sys

from modelplex.toolkit import model_server

if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        os.execvp(sys.argv[1], sys.argv[1:])
    model_server.start_model_server("/opt/program/model_handler.py:handle")
