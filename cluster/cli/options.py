"""Command-line options that several commands share, each with its type, range and help text.

An option's flag is the name of the command's parameter, such as --run-dir for `run_dir`. The
enumerations repeat those of `constellation.records`, whose import would slow the start.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class RuleName(StrEnum):
    """Values of --rule: how a text is compared with a kernel; the same as in `records.Rule`."""

    GEODESIC = "geodesic"
    BEARING = "bearing"


class ModeName(StrEnum):
    """Values of --mode: how many kernels answer; the same as in `records.Mode`."""

    NEAREST = "nearest"
    MIXTURE = "mixture"
    POSTERIOR = "posterior"


def json_flag(contents: str) -> Any:
    """Return the `--json` option of a command whose JSON object holds `contents`."""
    return typer.Option(
        "--json",
        help=f"Print {contents} as one JSON object on standard output, for scripts, instead of "
        "text for people.",
    )


RunDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder where a running constellation keeps its state file and logs; commands "
        "find the constellation by this folder. (default: runs/local)",
    ),
]
Artifacts = Annotated[
    Path | None,
    typer.Option(
        help="Artifacts folder that `constellation train` wrote: coordizer (tokenizer), "
        "kernels and releases. (default: artifacts/starter)",
    ),
]
ServedArtifacts = Annotated[
    Path | None,
    typer.Option(
        help="Artifacts folder that `constellation train` wrote: coordizer (tokenizer), kernels "
        "and releases. (default: the folder that the constellation running from --run-dir "
        "serves, else artifacts/starter)",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        help="Address of the server to ask, as host:port; several routers of one "
        "constellation are separated by commas. (default: the routers of the "
        "constellation that runs from --run-dir)",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File whose first line is the secret token that is sent with every request, for "
        "a constellation that was started with a token; the variable "
        "CONSTELLATION_TOKEN, if set, is used instead. (default: the setting "
        "security.token_file)",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=3600,
        help="Seconds that a request may take, retries included, before the command fails, "
        "0.001 to 3600. (default: 120 for replies and changes, 15 for routes and "
        "status)",
    ),
]
Text = Annotated[
    str, typer.Argument(help='The text, in quotes; "-" reads the text from standard input.')
]
Rule = Annotated[
    RuleName | None,
    typer.Option(
        help="How the distance between the text and a kernel is measured: geodesic is the "
        "Fisher-Rao distance between their points on the probability simplex, bearing "
        "the angle between the directions of the two points as seen from average text. "
        "(default: the server's setting, else bearing)",
    ),
]
Kernel = Annotated[
    str | None,
    typer.Option(
        help="Name of the kernel that must answer, however far it is from the text. "
        "(default: the nearest kernel)",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Name of a kernel that is left out of the decision, as if it were not served; "
        "give the option several times for several kernels. (default: none)",
    ),
]
Mode = Annotated[
    ModeName,
    typer.Option(
        help="Which kernels write the reply: nearest is one kernel alone; in mixture and "
        "posterior the --top-k nearest write together, and their predictions are "
        "averaged with weights from their distances (mixture) or from how well each has "
        "predicted the text so far (posterior).",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of nearest kernels that get a weight above 0, at least 1; in the modes "
        "mixture and posterior these kernels write together. (default: the server's "
        "setting, else 2)",
    ),
]
Refuse = Annotated[
    bool,
    typer.Option(
        "--refuse-out-of-domain",
        help="Fail when the text lies outside the domain of every kernel, judged by a "
        "distance limit beyond which 1 % of the held-out texts of the kernels' own "
        "domains lie.",
    ),
]
RefuseShare = Annotated[
    float | None,
    typer.Option(
        min=0.002,
        max=0.5,
        help="Like --refuse-out-of-domain, with a limit beyond which this share of the "
        "held-out texts of the kernels' own domains lies, 0.002 to 0.5, such as 0.05 "
        "for 5 %; a larger share refuses more texts.",
    ),
]
TokensMax = Annotated[
    int | None,
    typer.Option(
        help="Largest number of tokens that a reply may have, 1 to 4096. (default: 128)",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Sampling temperature of the reply, 0 to 2: 0 always takes the likeliest token, "
        "2 is the most random. (default: 0.8)",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Seed of the random choice of tokens, a whole number from 0; the same seed "
        "draws the same way again. (default: a new random seed)",
    ),
]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Ray cluster on which the constellation runs, such as 10.0.0.1:6379; the command "
        "works on every machine that can join the cluster. (default: the constellation of "
        "--run-dir)",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the deployment on the Ray cluster of --address: 1 to 40 lower-case letters, "
        "digits and hyphens. (default: the setting cluster.name, else default)",
    ),
]
TrainingAddress = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Ray cluster whose nodes train, such as 10.0.0.1:6379; run the command on one of its "
        "nodes. (default: this machine trains, with a Ray of its own)",
    ),
]
