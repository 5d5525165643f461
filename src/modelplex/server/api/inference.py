"""Predictions: a request to its model, and what comes of it back to the client.

Nearly all of them take the express path: one look-up of the raw target, one call of the model, one
call back. What that path does not take (queries, chunked bodies, errors) takes `invoke`, which
answers the same.
"""

from __future__ import annotations

import time

from modelplex.http.express import Receiver, Reply
from modelplex.http.messages import Data, Request, Response
from modelplex.server.api.answers import Envelope, new_request_id, wire
from modelplex.server.api.parameters import Parameters
from modelplex.server.api.paths import invoked, segments
from modelplex.server.errors import BadRequest, ServerError
from modelplex.server.logs.journal import Journal
from modelplex.server.serving.models import Model, Models
from modelplex.workers.invocations import Answer, Invocation, pack

_LANES_MAX = 65_536  # targets remembered; more: all are forgotten and looked up again


class Inference:
    """Invokes `models`; bodies above `body_bytes_max` are refused."""

    def __init__(
        self, models: Models, journal: Journal, envelope: Envelope, body_bytes_max: int
    ) -> None:
        self._models = models
        self._journal = journal
        self._envelope = envelope
        self._body_bytes_max = body_bytes_max
        self._lanes: dict[bytes, Receiver] = {}  # by raw target
        self._version = -1  # of the models, when the lanes were made

    def express(self, request: Request) -> Receiver | None:
        """What takes this request's body, None if `invoke` must."""
        length = request.length
        if request.method != "POST" or length is None or length > self._body_bytes_max:
            return None
        if self._version != self._models.version:
            self._lanes.clear()
            self._version = self._models.version
        return self._lanes.get(request.target) or self._open(request.target)

    async def invoke(self, request: Request, name: str, request_id: bytes) -> Response:
        """Answers a request for the model `name`, "" for the one it names elsewhere."""
        began = time.perf_counter()
        model = self.model(name, request.query)
        body = await request.body.read(self._body_bytes_max)
        invocation = Invocation(request.headers, body, request.query, request_id)
        outcome: Answer | ServerError
        try:
            outcome = await model.invoke(invocation)
        except ServerError as error:
            outcome = error
        status, phrase, headers, data = wire(outcome)
        self._journal.predicted(model.name, request_id, time.perf_counter() - began, status)
        return Response(status, headers, data, phrase)

    def model(self, name: str, query: bytes) -> Model:
        """The model named by the path, by `model_name`, or the only start-up model."""
        name = name or Parameters.of_query(query).text("model_name")
        if name:
            return self._models.find(name)
        only = self._models.only()
        if only is None:
            raise BadRequest("Parameter model_name is required.")
        return only

    def _open(self, target: bytes) -> Receiver | None:
        """The lane of a target that invokes a model; remembered."""
        if b"?" in target or (name := invoked(segments(target))) is None:
            return None
        try:
            model = self.model(name, b"")
        except ServerError:
            return None
        if len(self._lanes) >= _LANES_MAX:
            self._lanes.clear()
        lane = self._lanes[target] = self._lane(model)
        return lane

    def _lane(self, model: Model) -> Receiver:
        """A receiver that invokes one model. Everything in it is done for every request."""
        submit, name, now = model.submit, model.name, time.perf_counter
        make = tuple.__new__  # of a NamedTuple: several times faster than its class
        block = self._envelope.block
        served = self._journal.served

        def receive(request: Request, body: Data, reply: Reply) -> None:
            began = now()
            request_id = new_request_id()

            def done(outcome: Answer | ServerError) -> None:
                data: Data
                if isinstance(outcome, Answer) and not outcome.failure:
                    status, phrase, headers, data, _ = outcome
                else:
                    status, phrase, headers, data = wire(outcome)
                reply.send(status, block(request_id, headers), data, phrase)
                served(request, name, request_id, now() - began, status)

            packed = request.packed
            if packed is None:
                packed = request.packed = pack(request.headers)
            submit(make(Invocation, (packed, body, b"", request_id)), done, lambda: reply.gone)

        return receive
