"""Multi Model Server as a container's command.

It is what the inference toolkit starts, with the toolkit's settings; but this process becomes it,
so that its end is the server's, and no other process of the machine is mistaken for it.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

SETTINGS = """\
model_store=/
default_service_handler={handler}:handle
default_workers_per_model=1
async_logging=true
decode_input_request=false
default_response_timeout=60
inference_address=http://0.0.0.0:{port}
management_address=http://0.0.0.0:{port}
"""

if __name__ == "__main__":
    spec = importlib.util.find_spec("mms")
    package = Path(spec.origin).parent
    folder = tempfile.mkdtemp(prefix="mms-")
    handler = Path(__file__).resolve().with_name("model_handler.py")
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    Path(folder, "mms.properties").write_text(SETTINGS.format(handler=handler, port=port))
    environment = {**os.environ, "LOG_LOCATION": folder, "METRICS_LOCATION": folder}
    # Where it has its workers' sockets, whose names are at most 107 characters long: the folder's
    # own may be longer. The process is the same after exec.
    os.chdir(folder)
    sockets = f"/proc/{os.getpid()}/cwd"
    command = [
        *("java", "-Xmx256m", f"-Djava.io.tmpdir={sockets}"),
        *(f"-Dmodel_server_home={package.parent}", "-cp", str(package / "frontend" / "*")),
        *("com.amazonaws.ml.mms.ModelServer", "--python", sys.executable),
        *("-f", f"{folder}/mms.properties", "-s", "/"),
    ]
    os.execvpe(command[0], command, environment)
