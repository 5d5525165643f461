"""Settings: where a value comes from, and what is said about a bad one."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from modelplex import settings
from modelplex.settings import Settings, SettingsError

ROOT = Path(__file__).parent.parent


def resolve(
    data: Path, flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    """Resolve over a data folder, untouched by this process's environment."""
    return settings.resolve({"data": data, **(flags or {})}, environ or {})


def test_without_anything_the_defaults_hold() -> None:
    """No flag, no variable, no file."""
    assert settings.resolve({}, {"MODELPLEX_DATA": "/nowhere"}) == Settings(data=Path("/nowhere"))


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Each of the four places is used where no stronger one speaks."""
    file = 'port = 1\nhost = "10.0.0.1"\naccount = "111111111111"\n'
    (tmp_path / "modelplex.toml").write_text(file)
    found = resolve(tmp_path, {"port": "3"}, {"MODELPLEX_PORT": "2", "MODELPLEX_HOST": "10.0.0.2"})
    assert (found.port, found.host, found.account, found.region) == (
        3,
        "10.0.0.2",
        "111111111111",
        "us-west-2",
    )


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    """`MODELPLEX_PORT= modelplex up` means the default."""
    assert resolve(tmp_path, environ={"MODELPLEX_PORT": ""}).port == 8321


def test_the_file_of_config_may_name_the_data_folder(tmp_path: Path) -> None:
    """A file that lies elsewhere can say where the data is; the data folder's own cannot."""
    file = tmp_path / "my.toml"
    file.write_text(f'data = "{tmp_path}/data"\nfile_roots = ["/a", "/b"]\n')
    found = settings.resolve({}, {}, file)
    assert (found.data, found.file_roots) == (tmp_path / "data", ("/a", "/b"))
    file.rename(tmp_path / "modelplex.toml")
    with pytest.raises(SettingsError, match="use --data"):
        resolve(tmp_path)


def test_folders_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was meant where `up` was typed; its processes may run elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    found = settings.resolve({"data": "d", "file_roots": ["models", "~/more"]}, {})
    assert found.data == tmp_path / "d"
    assert found.file_roots == (f"{tmp_path}/models", "/home/me/more")


def test_lists_and_truths_in_the_environment(tmp_path: Path) -> None:
    """`:` separates a list; yes and no are written in the usual ways."""
    found = resolve(
        tmp_path, environ={"MODELPLEX_FILE_ROOTS": "/a:/b", "MODELPLEX_JSON_LOGS": "yes"}
    )
    assert (found.file_roots, found.json_logs) == (("/a", "/b"), True)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("port", "many", "whole number, not 'many'"),
        ("port", "65536", "at most 65535"),
        ("port", "-1", "at least 0"),
        ("gateways", "65", "at most 64 gateways"),
        ("port", "1.5", "whole number"),
        ("stop_timeout_s", "0", "above 0"),
        ("stop_timeout_s", "nan", "must be a number"),
        ("json_logs", "perhaps", "true or false"),
        ("account", "123", "12 digits"),
        ("region", "Mars", "us-west-2"),
        ("log_level", "loud", "debug, info"),
        ("s3_endpoint", "localhost:9000", "http://HOST"),
        ("access_key", "a,b,c", "no comma"),
    ],
)
def test_a_bad_value_is_refused_where_it_stands(
    tmp_path: Path, name: str, value: str, complaint: str
) -> None:
    """The message names the flag or the variable, the value, and what would do."""
    with pytest.raises(SettingsError, match=complaint) as raised:
        resolve(tmp_path, {name: value})
    assert str(raised.value).startswith("--" + name.replace("_", "-"))
    with pytest.raises(SettingsError, match=f"MODELPLEX_{name.upper()}"):
        resolve(tmp_path, environ={f"MODELPLEX_{name.upper()}": value})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot = 1", "Did you mean port"),
        ("port = true", "whole number, not True"),
        ('port = "x', "cannot be read"),
        ('file_roots = "/a"\nhost = 1', "host in .*text, not 1"),
        ("file_roots = [1]", "list of texts"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """Unknown names, wrong types and broken TOML, each with the file's path."""
    (tmp_path / "modelplex.toml").write_text(text)
    with pytest.raises(SettingsError, match=complaint) as raised:
        resolve(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_missing_config_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for must be there; the data folder's own need not."""
    with pytest.raises(SettingsError, match="does not exist"):
        settings.resolve({}, {}, tmp_path / "no.toml")


@pytest.mark.parametrize(
    "flags",
    [{"access_key": "abc"}, {"s3_endpoint": "http://x"}, {"s3_secret_key": "secretsecret"}],
)
def test_keys_come_in_pairs(tmp_path: Path, flags: dict[str, str]) -> None:
    """Half a pair of keys, or a store without any, cannot work."""
    with pytest.raises(SettingsError, match="_key"):
        resolve(tmp_path, flags)


def test_the_registry_has_a_port_of_its_own(tmp_path: Path) -> None:
    """The same as the platform's is refused, unless there is no registry."""
    resolve(tmp_path, {"port": "8322"})
    with pytest.raises(SettingsError, match="both 8322"):
        resolve(tmp_path, {"port": "8322", "registry": True})


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    """A refused secret key does not stand in the message."""
    with pytest.raises(SettingsError) as raised:
        resolve(tmp_path, {"access_key": "abc", "secret_key": "s,e,c,r,e,t"})
    assert "s,e,c" not in str(raised.value)


def test_a_document_says_everything(tmp_path: Path) -> None:
    """Settings survive the way through JSON; what is missing gets its default."""
    found = resolve(tmp_path, {"file_roots": ["/a"], "instance_scale": "0.5", "json_logs": "1"})
    (tmp_path / "settings.json").write_text(json.dumps(found.as_document()))
    assert settings.load(tmp_path) == found
    assert Settings.from_document({"port": 1}) == Settings(port=1)
    with pytest.raises(SettingsError, match=r"nonsense in settings\.json"):
        Settings.from_document({"nonsense": 1})


def test_every_setting_has_its_text_and_section() -> None:
    """No field is without documentation."""
    documentation = settings.documentation()
    assert list(documentation) == [each.name for each in fields(Settings)]
    assert all(section and text for section, text in documentation.values())


def test_the_page_of_settings_is_up_to_date() -> None:
    """docs/reference/config.md is what scripts/config_table.py writes now, with every field."""
    spec = importlib.util.spec_from_file_location("page", ROOT / "scripts" / "config_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "reference" / "config.md").read_text()
    assert page == module.table(), "run: python scripts/config_table.py"
    assert all(f"`{each.name}`" in page for each in fields(Settings))
