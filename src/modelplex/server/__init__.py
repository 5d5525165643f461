"""The model server: the container contract and Multi Model Server's REST API over `workers/`."""
