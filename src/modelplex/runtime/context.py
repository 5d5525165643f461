"""What a handler is told and what it may say back: the `context` of Multi Model Server.

Source of every name and behaviour: multi-model-server 1.1.11, mms/context.py. Methods without a
text of their own do what their names say. One thing is better: request headers are found however
the handler spells them (`Content-Type`, `content-type`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Sequence

from modelplex.runtime.metrics import MetricsStore

if TYPE_CHECKING:
    from modelplex.runtime.inputs import Request

SERVER_NAME = "MMS"
SERVER_VERSION = "1.1.11"  # the version whose behaviour is copied


class Headers(dict):  # type: ignore[type-arg]
    """Request headers by lower-case name, looked up in any case."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__([(name.lower(), value) for name, value in pairs])

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class RequestProcessor:
    """One request of a batch: its headers, and the status and headers of its answer."""

    untouched = False  # True: certainly 200 without headers; a handler may bring a class of its own
    _status_code: Any = 200
    _reason_phrase: Any = None
    _response_header: dict[str, Any] | None = None  # made when first asked for
    _request_header: dict[str, Any] | None = None

    def __init__(self, request_header: dict[str, Any]) -> None:
        self._request_header = request_header

    def get_request_property(self, key: str) -> Any:
        """One request header; None if the request has none of that name."""
        return self.get_request_properties().get(key)

    def get_request_properties(self) -> dict[str, Any]:
        return self._request_header or {}

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        self.untouched = False
        self._status_code = code
        self._reason_phrase = reason_phrase

    def get_response_status_code(self) -> Any:
        return self._status_code

    def get_response_status_phrase(self) -> Any:
        return self._reason_phrase

    def add_response_property(self, key: str, value: str) -> None:
        self.get_response_headers()[key] = value

    def get_response_headers(self) -> dict[str, Any]:
        if self._response_header is None:
            self.untouched = False
            self._response_header = {}
        return self._response_header

    def get_response_header(self, key: str) -> Any:
        return self.get_response_headers().get(key)


class Context:
    """What is fixed for the model, and the requests at hand. `idx` is a place in `data`."""

    def __init__(  # noqa: PLR0917  as Multi Model Server has it
        self,
        model_name: str,
        model_dir: str,
        manifest: Any = None,
        batch_size: int = 1,
        gpu: int | None = None,
        mms_version: str = SERVER_VERSION,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.request_processor: Sequence[RequestProcessor] | None = None
        self._request_ids: dict[int, str] | None = None
        self._requests: Sequence[Request] = ()
        self._metrics: MetricsStore | None = None
        self.system_properties: dict[str, Any] = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": SERVER_NAME,
            "server_version": mms_version,
        }

    @property
    def request_ids(self) -> dict[int, str] | None:
        """The ids of the requests by their place in `data`; None while the model is loaded."""
        if self._request_ids is None and self._requests:
            self._request_ids = {at: request.id() for at, request in enumerate(self._requests)}
        return self._request_ids

    @request_ids.setter
    def request_ids(self, ids: dict[int, str] | None) -> None:
        self._request_ids = ids

    @property
    def metrics(self) -> MetricsStore:
        """The metrics of the current request, made when first asked for."""
        if self._metrics is None:
            self._metrics = MetricsStore(self.request_ids, self.model_name)
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: MetricsStore) -> None:
        self._metrics = metrics

    def begin(self, requests: Sequence[Request]) -> None:
        """Forgets the last requests and turns to the next ones. For the worker."""
        self._requests = self.request_processor = requests
        self._request_ids = self._metrics = None

    def emit_metrics(self) -> None:
        """Writes what the handler has measured to its log. For the worker."""
        if self._metrics is not None:
            metrics, self._metrics = self._metrics, None
            metrics.emit()

    def get_request_id(self, idx: int = 0) -> str | None:
        """The id of a request; None while the model is being loaded."""
        return (self.request_ids or {}).get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        """One header of a request; None if it has none of that name."""
        return self._at(idx).get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        return self._at(idx).get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> Any:
        return self.get_response_headers(idx).get("content-type")

    def get_response_status(self, idx: int) -> tuple[Any, Any]:
        processor = self._at(idx)
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Sets the status of one answer; without effect while the model is being loaded."""
        if self.request_processor is not None:
            self.request_processor[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        for processor in self.request_processor or []:
            processor.report_status(code, reason_phrase=phrase)

    def get_response_headers(self, idx: int) -> dict[str, Any]:
        return self._at(idx).get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self._at(idx).add_response_property(key, value)

    def _at(self, idx: int) -> RequestProcessor:
        if self.request_processor is None:
            raise RuntimeError("there is no request while the model is being loaded")
        return self.request_processor[idx]
