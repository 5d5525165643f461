"""The server's configuration: where a value comes from, and what is said about a bad one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from modelplex.server.config import Config, ConfigError, cpus, documentation
from modelplex.server.start.resolve import UNUSED, Arguments, resolve

ROOT = Path(__file__).parents[2]
# What the inference toolkit writes in multi-model mode.
TOOLKIT = """
enable_envvars_config=true
model_store=/
default_service_handler=$$SAGEMAKER_HANDLER$$
default_workers_per_model=1
async_logging=true
decode_input_request=false
default_response_timeout=60
inference_address=http://0.0.0.0:8280
management_address=http://0.0.0.0:8280
vmargs=-XX:-UseContainerSupport
"""

Resolve = Callable[..., Config]


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """`resolved(text, variables, **arguments)` in an empty folder; no text: no file."""
    monkeypatch.chdir(tmp_path)

    def run(
        text: str | None = None, environ: dict[str, str] | None = None, **arguments: object
    ) -> Config:
        if text is not None:
            (tmp_path / "server.properties").write_text(text)
            arguments.setdefault("config_file", "server.properties")
        return resolve(Arguments(**arguments), environ or {})  # type: ignore[arg-type]

    return run


def test_without_anything_the_defaults_hold(resolved: Resolve) -> None:
    """Multi Model Server's, with as many workers as GPUs or else CPUs."""
    config = resolved()
    assert config == Config(number_of_gpu=config.number_of_gpu)
    assert config.default_workers_per_model == cpus()


def test_the_toolkits_file_is_understood(resolved: Resolve) -> None:
    """The timeout is seconds; the JVM's arguments are named as unused."""
    handler = "/opt/model_handler.py:handle"
    environ = {"SAGEMAKER_HANDLER": handler, "SAGEMAKER_MULTI_MODEL": "true"}
    config = resolved(TOOLKIT, environ, model_store="/")
    assert config.default_service_handler == handler
    assert config.default_response_timeout_s == 60
    assert config.inference_address == config.management_address == "http://0.0.0.0:8280"
    assert (config.model_store, config.multi_model) == (Path("/"), True)
    assert not config.decode_input_request
    assert [each.split(":")[0] for each in config.warnings] == [
        "vmargs in server.properties has no effect"
    ]


@pytest.mark.parametrize("name", documentation())
def test_every_setting_is_a_property(name: str, resolved: Resolve, tmp_path: Path) -> None:
    """Each can be given in a file, and has an effect."""
    config = Config()
    prop = documentation()[name][0]
    pem = "private_key_file=a\ncertificate_file=b\n"
    match getattr(config, name):
        case bool(default):
            text, expected = str(not default).lower(), not default
        case int(default):
            text, expected = str(default + 1), default + 1
        case float(default):
            text, expected = str(default + 1), default + 1
        case tuple():
            text, expected = "http://a/.*, http://b/.*", ("http://a/.*", "http://b/.*")
        case str() if name.endswith("_address"):
            text, expected = "http://localhost:99", "http://localhost:99"
        case str():
            text, expected = "word", "word"
        case _:
            place = Path(sys.executable) if name == "python" else tmp_path / "x"
            place.exists() or place.touch()
            text, expected = str(place), place
    found = resolved(f"{pem}{prop}={text}")
    assert prop in ("number_of_gpu", "model_store") or not found.warnings
    assert prop == "number_of_gpu" or getattr(found, name) == expected


def test_variables_beat_the_command_line_and_that_the_file(resolved: Resolve) -> None:
    """MMS_PROPERTY counts only where the file enables it, and is named in the log otherwise."""
    environ = {"MMS_MODEL_STORE": "/usr", "MMS_JOB_QUEUE_SIZE": "7"}
    file = "model_store=/bin\njob_queue_size=5\n"
    plain = resolved(file, environ, model_store="/etc")
    assert (plain.model_store, plain.job_queue_size) == (Path("/etc"), 5)
    assert "MMS_JOB_QUEUE_SIZE has no effect: enable_envvars_config is not true." in plain.warnings
    enabled = resolved(file + "enable_envvars_config=TRUE", environ, model_store="/etc")
    assert (enabled.model_store, enabled.job_queue_size) == (Path("/usr"), 7)
    assert enabled.warnings == ()


def test_models_of_the_command_line_replace_the_files(resolved: Resolve) -> None:
    """A "=" in a URL is no name; the variable beats both."""
    models = ("a=x.mar", "b.mar", "http://h/m?v=1", "c=http://h/m?v=1")
    config = resolved("load_models=ALL\nenable_envvars_config=true", models=models)
    assert config.load_models == ""
    assert config.models == (
        ("a", "x.mar"),
        ("", "b.mar"),
        ("", "http://h/m?v=1"),
        ("c", "http://h/m?v=1"),
    )
    environ = {"MMS_LOAD_MODELS": "z.mar"}
    config = resolved("enable_envvars_config=true", environ, models=models)
    assert (config.load_models, config.models) == ("z.mar", ())


def test_the_file_is_found(resolved: Resolve, tmp_path: Path) -> None:
    """MMS_CONFIG_FILE, else the argument, else config.properties here; a named one must exist."""
    (tmp_path / "config.properties").write_text("job_queue_size=1")
    assert resolved().job_queue_size == 1
    assert resolved("job_queue_size=2").job_queue_size == 2
    (tmp_path / "third").write_text("job_queue_size=3")
    assert resolved("job_queue_size=2", {"MMS_CONFIG_FILE": "third"}).job_queue_size == 3
    with pytest.raises(ConfigError, match="The configuration file gone cannot be read"):
        resolved(environ={"MMS_CONFIG_FILE": "gone"})


def test_sagemakers_variables_are_enough(resolved: Resolve) -> None:
    """In multi-model mode without a file: one port, the root as store, seconds."""
    environ = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "90",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
        "SAGEMAKER_HANDLER": "h.py:handle",
        "MMS_JOB_QUEUE_SIZE": "9",
    }
    config = resolved(environ=environ)
    assert config.multi_model
    assert config.inference_address == config.management_address == "http://0.0.0.0:9000"
    assert (config.model_store, config.decode_input_request) == (Path("/"), False)
    assert (config.default_workers_per_model, config.default_response_timeout_s) == (3, 90)
    assert (config.max_request_size, config.job_queue_size) == (20 * 1024 * 1024, 9)
    assert config.default_service_handler == "h.py:handle"
    seconds = resolved(environ={**environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "5"})
    assert seconds.default_response_timeout_s == 5
    bare = resolved(environ={"SAGEMAKER_MULTI_MODEL": "true"})
    assert (bare.default_workers_per_model, bare.default_response_timeout_s) == (1, 60)
    assert bare.inference_address == "http://0.0.0.0:8080"


def test_the_file_named_sagemaker_is_built_in(resolved: Resolve) -> None:
    """As with Multi Model Server all of its variables must be set."""
    environ = {
        "SAGEMAKER_MODEL_STORE": "/",
        "SAGEMAKER_BIND_TO_PORT": "9000",
        "SAGEMAKER_RESPONSE_TIMEOUT": "6",
        "SAGEMAKER_NUM_MODEL_WORKERS": "2",
        "SAGEMAKER_HANDLER": "h",
        "SAGEMAKER_MAX_RESPONSE_SIZE": "10",
        "SAGEMAKER_MAX_REQUEST_SIZE": "11",
    }
    config = resolved(environ=environ, config_file="sagemaker")
    assert (config.unregister_model_timeout_s, config.max_request_size) == (6, 11)
    del environ["SAGEMAKER_HANDLER"]
    with pytest.raises(ConfigError, match="variable SAGEMAKER_HANDLER is not set"):
        resolved(environ=environ, config_file="sagemaker")


def test_addresses_get_their_port(resolved: Resolve) -> None:
    """Multi Model Server's, which are different for the two."""
    config = resolved("inference_address=http://a\nmanagement_address=HTTPS://[::1]/")
    assert config.inference_address == "http://a:80"
    assert config.management_address == "https://[::1]:8444"


def test_places_of_logs_come_from_the_environment(resolved: Resolve) -> None:
    """LOG_LOCATION and METRICS_LOCATION are stronger than the file, as Log4j has it."""
    config = resolved("log_location=a\nmetrics_location=b", {"LOG_LOCATION": "c"})
    assert (config.log_location, config.metrics_location) == (Path("c"), Path("b"))


def test_debugging_means_one_worker(resolved: Resolve) -> None:
    """As with Multi Model Server."""
    assert resolved("debug=true\ndefault_workers_per_model=4").default_workers_per_model == 1


def test_gpus_are_those_there(
    resolved: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most those that nvidia-smi lists; workers are as many unless they are given."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for text, gpus, workers in (
        ("", 3, 3),
        ("number_of_gpu=2", 2, 2),
        ("number_of_gpu=9\ndefault_workers_per_model=5", 3, 5),
        ("number_of_gpu=0", 0, cpus()),
    ):
        config = resolved(text)
        assert (config.number_of_gpu, config.default_workers_per_model) == (gpus, workers)


def test_the_log_configuration_may_be_a_jvm_argument(resolved: Resolve, tmp_path: Path) -> None:
    """That is how Multi Model Server's documents give it; --log-config is stronger."""
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).touch()
    vmargs = f"vmargs=-Xmx1g -Dlog4j.configurationFile=file://{tmp_path}/a.xml"
    assert resolved(vmargs).log_config == tmp_path / "a.xml"
    assert resolved(vmargs, log_config=str(tmp_path / "b.xml")).log_config == tmp_path / "b.xml"


@pytest.mark.parametrize("name", UNUSED)
def test_what_has_no_meaning_here_is_named(name: str, resolved: Resolve) -> None:
    """With the reason."""
    (warning,) = resolved(f"{name}=1").warnings
    assert warning == f"{name} in server.properties has no effect: {UNUSED[name]}."


def test_a_misspelt_property_is_named(resolved: Resolve) -> None:
    """With the nearest one that exists."""
    near, far = resolved("job_que_size=1\nxyz=1").warnings
    assert near.endswith("no such property; it has no effect. Did you mean job_queue_size?")
    assert far == "xyz in server.properties: there is no such property; it has no effect."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job_queue_size=ten", "job_queue_size in server.properties: must be a whole number"),
        ("job_queue_size=0", "must be above 0, not '0'"),
        ("number_of_gpu=-1", "must be at least 0, not '-1'"),
        ("debug=yes", "must be true or false, not 'yes'"),
        ("drain_timeout_s=nan", "must be a number, not 'nan'"),
        ("enable_envvars_config=1", "must be true or false, not '1'"),
        ("inference_address=8080", "must be http://HOST"),
        ("inference_address=http://a:0", "must be http://HOST"),
        ("inference_address=http://a:65536", "must be http://HOST"),
        ("blacklist_env_vars=(", "is no regular expression"),
        ("allowed_urls=ok, [", r"'\[' is no regular expression"),
        ("keystore=$$NOPE$$", "the variable NOPE is not set"),
        ("private_key_file=a", "belong together"),
        ("python=/nowhere/python", "python: /nowhere/python is no program"),
        ("log_config=gone.xml", "The log configuration gone.xml does not exist"),
        (
            "inference_address=http://a:1\nmanagement_address=https://a:1",
            "one port, two protocols",
        ),
    ],
)
def test_a_bad_value_is_one_clear_line(text: str, message: str, resolved: Resolve) -> None:
    """It names property, file and value."""
    with pytest.raises(ConfigError, match=message) as caught:
        resolved(text)
    assert "\n" not in str(caught.value)


def test_a_store_that_is_not_there_is_named(resolved: Resolve) -> None:
    """The server starts all the same, as Multi Model Server does: the folder may come later."""
    assert resolved("model_store=/nowhere").warnings == ("The model store /nowhere is no folder.",)


def test_the_page_of_properties_is_up_to_date() -> None:
    """docs/reference/server-config.md is what its script writes now, with every property."""
    path = ROOT / "scripts" / "server_config_table.py"
    spec = importlib.util.spec_from_file_location("page", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "reference" / "server-config.md").read_text()
    assert page == module.table(), "run: python scripts/server_config_table.py"
    names = {name for name, _, _ in documentation().values()} | set(UNUSED)
    assert all(f"`{name}`" in page for name in names)
    assert {each.name for each in fields(Config)} - set(documentation()) == {"models", "warnings"}
