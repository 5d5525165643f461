"""Write docs/reference/server-config.md from Config: `python scripts/server_config_table.py`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from modelplex.server.config import Config, documentation
from modelplex.server.start.resolve import ENABLE, UNUSED

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "server-config.md"
HEAD = """\
# Settings of the model server

Written by `scripts/server_config_table.py` from `src/modelplex/server/config.py`; do not edit.

They are Multi Model Server's, and some of ours, in a file of Java properties: the one that the
variable `MMS_CONFIG_FILE` names, else that of `--mms-config`, else `config.properties` in the
current folder. `--mms-config sagemaker` is Multi Model Server's own file of that name.

Of two values the stronger one counts: the variable `MMS_PROPERTY` (in capitals), if the file says
`enable_envvars_config=true`; the command line; the file; the default. `$$NAME$$` in a value of the
file is replaced by that environment variable, which must be set. Sizes are bytes, times seconds:
`default_response_timeout` and the toolkit's `SAGEMAKER_MODEL_SERVER_TIMEOUT` too, which Multi Model
Server takes for minutes. A value that cannot be used ends the server at start with one line; a
property that has no effect is named in the log.

With `SAGEMAKER_MULTI_MODEL=true` and no file, SageMaker's variables count: one port
(`SAGEMAKER_BIND_TO_PORT`, 8080) on all interfaces, `model_store=/`, `decode_input_request=false`,
`enable_envvars_config=true`, and

| variable | sets | otherwise |
|---|---|---|
| `SAGEMAKER_MODEL_SERVER_WORKERS` | `default_workers_per_model` | 1 |
| `SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS`, else `SAGEMAKER_MODEL_SERVER_TIMEOUT` | \
`default_response_timeout` | 60 |
| `SAGEMAKER_MAX_PAYLOAD_IN_MB` | `max_request_size`, in MiB | 6553500 bytes |
| `SAGEMAKER_HANDLER` | `default_service_handler` | none |

Always: `LOG_LOCATION`, `METRICS_LOCATION`, and `TMPDIR` for the folder of the launcher's pid file.
"""
DEFAULTS = {  # those that depend on the machine
    "default_workers_per_model": "0",
    "number_of_gpu": "all",
    "loads_max": "CPUs, at least 2",
    "python": "the server's own",
}


def table() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, group in groupby(documentation().items(), key=lambda item: item[1][1]):
        parts.append(f"\n## {section}\n\n| property | default | |\n|---|---|---|\n")
        parts += [f"| `{name}` | {_default(each)} | {text} |\n" for each, (name, _, text) in group]
    parts.append("\n## Without effect here\n\n| property | why |\n|---|---|\n")
    parts += [f"| `{name}` | {why} |\n" for name, why in UNUSED.items()]
    parts.append(f"\n`{ENABLE}` (false) says whether `MMS_` variables count.\n")
    return "".join(parts)


def _default(name: str) -> str:
    if name in DEFAULTS:
        return DEFAULTS[name]
    value = getattr(Config(), name)
    match value:
        case None | "" | ():
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
    return f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(table())
