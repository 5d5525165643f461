"""Which operation is answered by which function."""

from __future__ import annotations

from collections.abc import Callable

from modelplex.control import configs, endpoints, models, tags
from modelplex.control.realm import Realm
from modelplex.control.records import Document

Operation = Callable[[Realm, Document], Document]

SAGEMAKER: dict[str, Operation] = {
    "CreateModel": models.create,
    "DescribeModel": models.describe,
    "ListModels": models.list_,
    "DeleteModel": models.delete,
    "CreateEndpointConfig": configs.create,
    "DescribeEndpointConfig": configs.describe,
    "ListEndpointConfigs": configs.list_,
    "DeleteEndpointConfig": configs.delete,
    "CreateEndpoint": endpoints.create,
    "DescribeEndpoint": endpoints.describe,
    "ListEndpoints": endpoints.list_,
    "DeleteEndpoint": endpoints.delete,
    "AddTags": tags.add,
    "ListTags": tags.list_,
    "DeleteTags": tags.delete,
}
