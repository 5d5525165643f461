"""The environment variables."""

from __future__ import annotations

import pytest

from modelplex.toolkit.environment import Environment


def test_defaults():
    """Those of the inference toolkit."""
    env = Environment()
    assert (env.module_name, env.default_accept) == ("inference", "application/json")
    assert (env.model_server_timeout, env.model_server_timeout_seconds) == (60, None)
    assert (env.inference_http_port, env.management_http_port) == ("8080", "8080")
    assert (env.model_server_workers, env.max_request_size) == (None, None)
    assert (env.startup_timeout, env.safe_port_range, env.tracebacks) == (600, None, False)


def test_variables_win(monkeypatch):
    """Megabytes become bytes, a script becomes a module."""
    for name, value in {
        "SAGEMAKER_PROGRAM": "serve.py",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "5",
    }.items():
        monkeypatch.setenv(name, value)
    env = Environment()
    assert (env.module_name, env.max_request_size) == ("serve", 20 * 1024 * 1024)
    assert (env.inference_http_port, env.model_server_timeout_seconds) == ("9000", 5)


def test_a_number_that_is_none_is_refused(monkeypatch):
    """With the variable's name."""
    monkeypatch.setenv("SAGEMAKER_MODEL_SERVER_TIMEOUT", "1m")
    with pytest.raises(ValueError, match="SAGEMAKER_MODEL_SERVER_TIMEOUT is '1m'"):
        Environment()
