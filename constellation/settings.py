"""Read the settings: `constellation.toml`, then CONSTELLATION_... variables, then flags.

Later sources override earlier ones. This is the only file that reads environment variables. Nested
keys use two underscores: `CONSTELLATION_SERVE__PORT=50061` overrides `port` in `[serve]`. Unknown
keys are errors.
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
from constellation.secret_files import read_secret

CONFIG_FILE = Path("constellation.toml")
TOKEN_VARIABLE = "CONSTELLATION_TOKEN"
_PREFIX = "CONSTELLATION_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ServeSettings(_Section):
    """Settings of the routers, the processes that clients connect to."""

    host: str = "127.0.0.1"
    """Address to listen on; any address except loopback needs `security.token_file`."""
    port: int = Field(default=50051, ge=0, le=65_535)
    """TCP port of gRPC for clients; 0 lets the system choose a free port."""
    advertise: str | None = Field(default=None, min_length=1, max_length=253)
    """Host name or address by which clients reach the routers; None means `host`, or on a Ray
    cluster the address of the routers' node when `host` is a wildcard such as 0.0.0.0."""
    routers: int = Field(default=1, ge=1, le=64)
    """Number of router processes; they listen on consecutive ports from `port` upwards."""
    http: bool = True
    """Whether the routers serve OpenAI's API over HTTP beside gRPC."""
    http_port: int | None = Field(default=None, ge=0, le=65_535)
    """TCP port for HTTP of the first router; None means the ports after the routers' gRPC ports, 0
    lets the system choose a free port."""
    http_connections_max: int = Field(default=512, ge=1, le=65_536)
    """Most open HTTP connections; the next connection is refused with the time to retry after."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    """TCP port on loopback at which Prometheus reads the metrics of all processes; None means
    `port` + 200, 0 lets the system choose a free port."""
    rule: Rule = Rule.BEARING
    """Distance between a query and a kernel: `bearing` (angle) or `geodesic` (Fisher-Rao
    distance)."""
    top_k: int = Field(default=2, ge=1, le=240)
    """Number of nearest kernels that get a weight above 0 in a route."""
    phi_weighting: bool = True
    """Whether a kernel's measured integration (Phi) scales its weight, by a factor in [0.5, 2]."""
    requests_max: int = Field(default=1024, ge=1, le=65_536)
    """Most requests in progress at one router; the next request is refused with Overloaded."""
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Deadline of a request in seconds, when its caller sets no earlier deadline."""
    spill_depth: int | None = Field(default=None, ge=1, le=65_536)
    """Requests of one router in progress at a kernel from which further requests go to the next
    nearest kernel whose domain holds the query; None turns this off."""
    handoff_margin: float = Field(default=0.15, gt=0, le=3.15)
    """Radians by which another kernel must be nearer to an answer's latest text before it continues
    the answer, for requests that allow a handoff."""
    handoff_tokens: int = Field(default=16, ge=1, le=4096)
    """Number of tokens for which the other kernel must have been nearer by `handoff_margin`."""
    client_requests_max: int | None = Field(default=None, ge=1, le=65_536)
    """Most requests of one client in progress at one router; None means no limit."""
    client_rate: float | None = Field(default=None, gt=0, le=1e6)
    """Most requests per second of one client at one router, with bursts of one second's worth; None
    means no limit."""
    collective_rate: float | None = Field(default=None, gt=0, le=600)
    """Prompts per minute, sampled at random, that every kernel scores while a router is idle, to
    measure collective Phi (the gain over the best single kernel); None turns the measurement
    off."""


class KernelSettings(_Section):
    """Settings of the processes that run kernels."""

    slots: int = Field(default=4, ge=1, le=256)
    """Answers that one kernel generates at the same time."""
    queue_max: int = Field(default=64, ge=1, le=4096)
    """Most requests that wait for a slot of a kernel; the next request is refused with
    Overloaded."""
    stall_s: float = Field(default=20.0, gt=0, le=600)
    """Seconds for which a client may leave its buffer full before its answer is cancelled."""
    stuck_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds without a step, although texts could be stepped, after which the process is
    restarted; at least `stall_s` + 5 is waited. The longest single step must take less."""
    num_threads: int = Field(default=1, ge=1, le=256)
    """CPU threads of one kernel's process."""
    prefill_tokens: int = Field(default=128, ge=1, le=65_536)
    """Most prompt tokens read in one step, over all kernels of a stack, in addition to one token of
    each answer in progress."""
    prefix_mib: int = Field(default=16, ge=0, le=65_536)
    """Memory in MiB for the cached beginnings of prompts, which need not be read again; the kernels
    of a stack share it; 0 turns the cache off."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where kernels run: `cuda` on GPUs, which Ray gives to their processes; `auto` on GPUs if Ray
    finds any, else on CPUs."""
    per_gpu: int = Field(default=1, ge=1, le=64)
    """Processes that share one GPU, each with an equal part of its memory. One process that stacks
    its kernels is the fastest; more are for kernels that must not end together."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Number format of weight matrices while generating. With less than float32 an answer may
    depend on the other answers of its batch where two tokens are nearly equally likely."""
    per_actor: int = Field(default=1, ge=1, le=240)
    """Most kernels in one process. Kernels of one architecture are stacked and run in one batch, in
    float32; adapters over one base are stacked in any number format."""
    replicas: int = Field(default=1, ge=1, le=16)
    """Processes that serve each kernel, all with the same weights. When one of them is lost, the
    others continue its answers. On several nodes they run on different nodes."""
    compile: bool = False
    """Whether to compile the generation of new tokens by `torch.compile`, in the background of
    the first answers; only for kernels that are neither stacked nor recurrent nor Hugging Face
    models."""


class SecuritySettings(_Section):
    """Authentication of callers, and encryption."""

    token_file: Path | None = None
    """File whose first line is the secret that every call must carry, at least 16 characters."""
    certificate: Path | None = None
    """PEM file with the server's certificate; with `key`, both gRPC and HTTP use TLS."""
    key: Path | None = None
    """PEM file with the private key of `certificate`, without a passphrase."""
    client_ca: Path | None = None
    """PEM file with the authorities that sign clients' certificates; other clients are refused
    (mutual TLS)."""
    ca: Path | None = None
    """PEM file with the authorities by which the project's own commands verify a server with
    TLS."""
    client_certificate: Path | None = None
    """PEM file with the certificate that the project's own commands send to a server with mutual
    TLS."""
    client_key: Path | None = None
    """PEM file with the private key of `client_certificate`."""
    internal_certificate: Path | None = None
    """PEM file with the certificate of a node, for mutual TLS between the processes of a
    constellation on a Ray cluster; `constellation certificates` makes the file, which lies on every
    node under the same path."""
    internal_key: Path | None = None
    """PEM file with the private key of `internal_certificate`."""
    internal_ca: Path | None = None
    """PEM file with the authority of the deployment, which signed the certificates of all nodes."""


class ClusterSettings(_Section):
    """How processes are started, and what the machines of a joined Ray cluster keep."""

    name: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")
    """Name of the deployment, by which commands find the constellation on a Ray cluster: 1 to 40
    lower-case letters, digits and hyphens. One deployment of a name runs on a cluster."""
    ray_token_file: Path | None = None
    """File with the token of the Ray cluster that `--address` names; None leaves Ray's own
    environment variables in force."""

    fork_workers: bool = True
    """Whether to fork the processes of kernels, routers and registry from one process that has
    imported all modules: they start sooner and share memory. Where forking does not work, processes
    start normally."""
    node_dir: Path | None = None
    """Folder that every machine of a joined Ray cluster keeps for logs, weights and blobs; a folder
    that begins with `~` lies in the home of the machine's user. None: the path of `run_dir`."""
    storage: str | None = None
    """URI of the store of releases for machines that do not see the folder `artifacts`: file, s3 or
    gs, opened by `pyarrow`. None: they fetch files from other machines."""
    cache_gb: float = Field(default=20.0, gt=0, le=1e6)
    """Most GB of files that a machine keeps which does not see the folder `artifacts`; the file
    that was not used for the longest time goes first, and never one in use."""


class LogSettings(_Section):
    """Which facts of requests are logged."""

    access: bool = True
    """Whether to write a JSON line for every request to `logs/access.jsonl` of the run folder; the
    routers after the first write `access-2.jsonl` and so on."""
    prompts: bool = False
    """Whether these lines contain the prompts; without it no line holds any text of a request or
    answer."""


class TracingSettings(_Section):
    """Traces of requests by OpenTelemetry (needs the optional packages `tracing`)."""

    endpoint: str | None = None
    """URL of a collector that accepts traces by OTLP over HTTP, such as
    http://localhost:4318/v1/traces; None turns tracing off."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces begun here that is kept; a caller who sends a trace decides about that
    trace."""


class Settings(BaseSettings):
    """All settings of a constellation, checked."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    artifacts: Path = Path("artifacts/starter")
    """Folder that training wrote: coordizer, kernels, routing table."""
    run_dir: Path = Path("runs/local")
    """Folder of the running constellation: state, table, placement, logs."""
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
        """Return the sources by priority: flags, then the environment, then the file."""
        file = _TomlFile(settings_cls, toml_file=CONFIG_FILE)
        return (init_settings, env_settings, file)


class _TomlFile(TomlConfigSettingsSource):
    """Reads the values of a TOML file, with or without a byte-order mark at its start."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return tomllib.loads(file_path.read_text(encoding="utf-8-sig"))


def load_settings(**flags: Any) -> Settings:
    """Read and check the settings; `flags` that are None count as not given.

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
    # pydantic-settings ignores variables whose first part is no field: a misspelt name would
    # silently leave the default in force.
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    for name in map(str.upper, os.environ):
        if not name.startswith(_PREFIX) or name == TOKEN_VARIABLE:
            continue
        if name.split("__")[0] not in known:
            hint = did_you_mean(name, {*known, TOKEN_VARIABLE})
            raise ConfigError(f"configuration: no setting belongs to the variable {name}; {hint}")


def read_token(file: Path | None) -> str | None:
    """Return the secret token from CONSTELLATION_TOKEN or the first line of `file`, or None.

    Raises:
        ConfigError: The file cannot be read or is empty.
    """
    from_environment = os.environ.get(TOKEN_VARIABLE)
    if from_environment:
        return from_environment
    return None if file is None else read_secret(file, "token file")


def child_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment variables with `changes`, for a child process."""
    return {**os.environ, **changes}


def clear_environment(prefix: str) -> None:
    """Remove the variables whose names begin with `prefix` from this process's environment."""
    for name in [name for name in os.environ if name.startswith(prefix)]:
        del os.environ[name]


def absolute_module_paths() -> None:
    """Make the entries of PYTHONPATH absolute, so that child processes in other folders see them.

    An empty entry means the working directory, which is rarely intended; it is removed.
    """
    if (paths := os.environ.get("PYTHONPATH")) is not None:
        entries = [os.path.abspath(entry) for entry in paths.split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)


def apply_environment(changes: Mapping[str, str]) -> None:
    """Set environment variables of this process, for libraries that read them."""
    os.environ.update(changes)


def replace_environment(variables: Mapping[str, str]) -> None:
    """Replace all environment variables of this process by `variables`."""
    os.environ.clear()
    os.environ.update(variables)
