"""Configuration: `constellation.toml`, overridden by CONSTELLATION_... variables, then by flags.

The only file that reads the environment. Nested keys use two underscores:
`CONSTELLATION_SERVE__PORT=50061` overrides `port` in `[serve]`. Unknown keys are errors.
"""

import os
import tomllib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from constellation.errors import ConfigError
from constellation.field_errors import did_you_mean, field_problems
from constellation.records import Rule

CONFIG_FILE = Path("constellation.toml")
TOKEN_VARIABLE = "CONSTELLATION_TOKEN"
_PREFIX = "CONSTELLATION_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ServeSettings(_Section):
    """The router, as clients see it."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs `security.token_file`."""
    port: int = Field(default=50051, ge=0, le=65_535)
    """TCP port for clients; 0 lets the system choose."""
    routers: int = Field(default=1, ge=1, le=64)
    """Routers, each a process; they take the ports from `port` on."""
    http: bool = True
    """Serve OpenAI's API over HTTP beside gRPC."""
    http_port: int | None = Field(default=None, ge=0, le=65_535)
    """TCP port for HTTP, of the first router; None takes those after the routers' own, 0 lets the
    system choose."""
    http_connections_max: int = Field(default=512, ge=1, le=65_536)
    """HTTP connections that may be open; the next one is told when to come back."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """TCP port on loopback for the metrics of all processes together; None takes `port` + 200, 0
    lets the system choose."""
    rule: Rule = Rule.BEARING
    """How a query's basin is compared with a kernel's."""
    top_k: int = Field(default=2, ge=1, le=240)
    """Kernels that receive weights."""
    phi_weighting: bool = True
    """Let a kernel's measured integration scale its weight, within [0.5, 2]."""
    requests_max: int = Field(default=1024, ge=1, le=65_536)
    """Requests one router works on at once; the next one is refused with Overloaded."""
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest a request may take, in seconds, when its caller sets no earlier deadline."""
    spill_depth: int | None = Field(default=None, ge=1, le=65_536)
    """Requests that a router has under way at a kernel before the next ones go to the next nearest
    inside its radius; None never lets them."""
    handoff_margin: float = Field(default=0.15, gt=0, le=3.15)
    """Radians by which another kernel must be nearer to an answer before it takes it over, where
    the request allows it."""
    handoff_tokens: int = Field(default=16, ge=1, le=4096)
    """Tokens for which it must have been nearer."""
    client_requests_max: int | None = Field(default=None, ge=1, le=65_536)
    """Requests of one client that one router works on at once; None: any number."""
    client_rate: float | None = Field(default=None, gt=0, le=1e6)
    """Requests a second of one client that one router takes, of which a second's worth may come
    at once; None: any number."""
    collective_rate: float | None = Field(default=None, gt=0, le=600)
    """Prompts a minute, drawn by chance, that a router has every kernel score when it is idle, to
    measure collective Phi; None keeps none."""


class KernelSettings(_Section):
    """Every kernel's process."""

    slots: int = Field(default=4, ge=1, le=256)
    """Answers one kernel writes at the same time."""
    queue_max: int = Field(default=64, ge=1, le=4096)
    """Requests that may wait for a slot; the next one is refused with Overloaded."""
    stall_s: float = Field(default=20.0, gt=0, le=600)
    """Seconds a reader may leave its buffer full before its answer is cancelled."""
    num_threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of one kernel."""
    prefill_tokens: int = Field(default=128, ge=1, le=65_536)
    """Prompt tokens read in one step, of stacked kernels together, beside the tokens of the answers
    that are being written."""
    prefix_mib: int = Field(default=16, ge=0, le=65_536)
    """Memory in MiB for prompts that were read, whose beginnings are not read again; stacked
    kernels share it; 0: none."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """How matrices are held while writing; with less than float32 an answer may depend on others
    that are written beside it, where two tokens are nearly equally likely."""
    per_actor: int = Field(default=1, ge=1, le=240)
    """Kernels that one process serves; those of one architecture are stacked and stepped together,
    in float32, and adapters over one base in any precision."""
    compile: bool = False
    """Compile the writing of new tokens by `torch.compile`, beside the first answers; for kernels
    that are neither stacked nor recurrent nor models of others."""


class SecuritySettings(_Section):
    """Who may call, and what is encrypted."""

    token_file: Path | None = None
    """File whose first line is the secret that every call must carry, 16 characters or more."""
    certificate: Path | None = None
    """PEM file with the certificate that clients are shown; with `key`, both doors speak TLS."""
    key: Path | None = None
    """PEM file with the private key of `certificate`, without a passphrase."""
    client_ca: Path | None = None
    """PEM file with the authorities that vouch for clients; others are kept out (mutual TLS)."""
    ca: Path | None = None
    """PEM file with the authorities by which our own commands know a server with TLS."""
    client_certificate: Path | None = None
    """PEM file with the certificate that our own commands show to a server with mutual TLS."""
    client_key: Path | None = None
    """PEM file with the private key of `client_certificate`."""


class ClusterSettings(_Section):
    """How processes are started, in a Ray of our own."""

    fork_workers: bool = True
    """Fork the processes of kernels, routers and registry from one that has imported all they need:
    they start sooner and share its memory. Where it cannot run they start without it."""


class LogSettings(_Section):
    """What is written down of requests."""

    access: bool = True
    """A JSON line for every request in `logs/access.jsonl` of the run folder; routers after the
    first have `access-2.jsonl` and so on."""
    prompts: bool = False
    """With what was asked in it; otherwise no line holds any text of a request or an answer."""


class TracingSettings(_Section):
    """Spans of requests, by OpenTelemetry (the optional packages `tracing`)."""

    endpoint: str | None = None
    """URL at which a collector takes traces by OTLP over HTTP, such as
    http://localhost:4318/v1/traces; None makes none."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces begun here that is kept; callers who send a trace decide about theirs."""


class Settings(BaseSettings):
    """The whole configuration, checked."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    artifacts: Path = Path("artifacts/starter")
    """Folder that training wrote: coordizer, kernels, table."""
    run_dir: Path = Path("runs/local")
    """Folder of the running constellation: state, logs, metrics targets."""
    serve: ServeSettings = ServeSettings()
    kernel: KernelSettings = KernelSettings()
    security: SecuritySettings = SecuritySettings()
    cluster: ClusterSettings = ClusterSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file; nothing else is read."""
        file = _TomlFile(settings_cls, toml_file=CONFIG_FILE)
        return (init_settings, env_settings, file)


class _TomlFile(TomlConfigSettingsSource):
    """The values of a TOML file, with or without a byte-order mark at its start."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text(encoding="utf-8-sig"))


def load_settings(**flags: Any) -> Settings:
    """Return the configuration; `flags` that are None count as not given.

    Raises:
        ConfigError: Names every key that is unknown or out of range.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    _check_variables()
    try:
        return Settings(**given)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{CONFIG_FILE} cannot be read as TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(f"configuration: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"configuration: {field_problems(error, Settings)}") from error


def _check_variables() -> None:
    # pydantic-settings overlooks variables whose first part is no field: a slip of the pen there
    # would silently leave the default in force.
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    for name in map(str.upper, os.environ):
        if not name.startswith(_PREFIX) or name == TOKEN_VARIABLE:
            continue
        if name.split("__")[0] not in known:
            hint = did_you_mean(name, {*known, TOKEN_VARIABLE})
            raise ConfigError(f"configuration: no setting belongs to the variable {name}; {hint}")


def read_token(file: Path | None) -> str | None:
    """Return the secret from CONSTELLATION_TOKEN or the first line of `file`, or None.

    Raises:
        ConfigError: The file cannot be read or is empty.
    """
    from_environment = os.environ.get(TOKEN_VARIABLE)
    if from_environment:
        return from_environment
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except OSError as error:
        raise ConfigError(f"token file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {file} is not UTF-8 text") from error
    if not token:
        raise ConfigError(f"token file {file} is empty; write a secret in its first line")
    return token


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process we start: ours with `changes`."""
    return {**os.environ, **changes}


def clear_environment(prefix: str) -> None:
    """Remove the variables whose names begin with `prefix` from this process's environment."""
    for name in [name for name in os.environ if name.startswith(prefix)]:
        del os.environ[name]


def absolute_module_paths() -> None:
    """Make the entries of PYTHONPATH mean the same in every folder, for processes we start.

    An empty entry means the working directory, mostly without anybody's wish; it is left out.
    """
    if (paths := os.environ.get("PYTHONPATH")) is not None:
        entries = [os.path.abspath(entry) for entry in paths.split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)


def apply_environment(changes: Mapping[str, str]) -> None:
    """Set variables that a library reads from this process's environment."""
    os.environ.update(changes)


def replace_environment(variables: Mapping[str, str]) -> None:
    """Give this process these variables and no others."""
    os.environ.clear()
    os.environ.update(variables)
