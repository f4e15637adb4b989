"""Flags that several commands share. Enumerations repeat the library's to keep start-up light."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class RuleName(StrEnum):
    """How a query's basin is compared with a kernel's; a test compares it with `records.Rule`."""

    GEODESIC = "geodesic"
    BEARING = "bearing"


class ModeName(StrEnum):
    """How many kernels answer; a test compares it with `records.Mode`."""

    NEAREST = "nearest"
    MIXTURE = "mixture"
    POSTERIOR = "posterior"


RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run-dir",
        help="Folder of the running constellation: state, logs. (default: runs/local)",
        show_default=False,
    ),
]
Artifacts = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        help="Folder that training wrote. (default: artifacts/starter)",
        show_default=False,
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="host:port of a router, or several with commas. "
        "(default: those that run from --run-dir)",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File whose first line is the secret that calls carry.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0.001,
        max=3600,
        help="Seconds the whole call may take.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Text = Annotated[str, typer.Argument(help='The text; "-" reads it from standard input.')]
Rule = Annotated[
    RuleName | None,
    typer.Option("--rule", help="How basins are compared.", show_default=False),
]
Kernel = Annotated[
    str | None,
    typer.Option("--kernel", help="The kernel that must answer.", show_default=False),
]
Mode = Annotated[
    ModeName,
    typer.Option(
        "--mode",
        help="One kernel answers, or the --top-k nearest together: their predictions averaged by "
        "distance (mixture) or by how well each predicted the text so far (posterior).",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option("--top-k", min=1, help="Kernels that receive weights.", show_default=False),
]
Refuse = Annotated[
    bool,
    typer.Option(
        "--refuse-out-of-domain",
        help="Fail when the text is out of every domain, with a limit that 1 % of in-domain texts "
        "exceed.",
    ),
]
RefuseShare = Annotated[
    float | None,
    typer.Option(
        "--refuse",
        min=0.002,
        max=0.5,
        help="The same with a limit that this share of in-domain texts exceeds, such as 0.05.",
        show_default=False,
    ),
]
TokensMax = Annotated[
    int | None,
    typer.Option(
        "--tokens-max", help="Most tokens to write, 1 to 4096. (default: 128)", show_default=False
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="0 (greedy) to 2. (default: 0.8)", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of the draw. (default: drawn)", show_default=False),
]
