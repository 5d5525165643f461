"""The echo model in the form of each peer: what its user would write."""

TORCHSERVE = """
def handle(data, context):
    return None if data is None else [row["body"] for row in data]
"""
MLSERVER = """
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput


class Echo(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        x = payload.inputs[0]
        y = ResponseOutput(name="y", shape=x.shape, datatype=x.datatype, data=x.data)
        return InferenceResponse(model_name=self.name, outputs=[y])
"""
LITSERVE = """
import sys

import litserve


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["input"]

    def predict(self, x):
        return x

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
"""
RAY = """
import signal
import sys

import ray
from ray import serve
from starlette.responses import Response


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.5})
class Echo:
    @serve.multiplexed(max_num_models_per_replica=1)
    async def model(self, name):
        return lambda body: body

    async def __call__(self, request):
        model = await self.model(serve.get_multiplexed_model_id())
        return Response(model(await request.body()))


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[2])
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Echo.bind(), route_prefix="/")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pause()
"""
TRITON = """
import triton_python_backend_utils as utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(utils.get_input_tensor_by_name(each, "x")) for each in requests]

    def answer(self, x):
        return utils.InferenceResponse([utils.Tensor("y", x.as_numpy())])
"""
TRITON_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_UINT8 dims: [-1] }]
output [{ name: "y" data_type: TYPE_UINT8 dims: [-1] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""
