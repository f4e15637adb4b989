"""Write the Grafana dashboards, or with `--check` say which files are stale.

Usage: `python -m tools.grafana_boards [--check]`; `make boards` and `make boards-fresh` call it.
"""

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.grafana_boards.board import Board, dashboard_of
from tools.grafana_boards.kernels_board import KERNELS
from tools.grafana_boards.machines_board import MACHINES
from tools.grafana_boards.nodes_board import NODES
from tools.grafana_boards.overview_board import OVERVIEW
from tools.grafana_boards.routing_board import ROUTING
from tools.grafana_boards.training_board import TRAINING

FOLDER: Final = Path(__file__).parents[2] / "cluster" / "grafana" / "dashboards"
BOARDS: Final = (OVERVIEW, ROUTING, KERNELS, TRAINING, NODES, MACHINES)


def text_of(board: Board) -> str:
    """Return the JSON of a dashboard as Grafana reads it, with sorted keys."""
    built = dashboard_of(board).build()
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def stale_files(folder: Path, texts: dict[str, str]) -> list[str]:
    """Return the names of files that are missing, differ from `texts`, or are in the way."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in there | texts if there.get(name) != texts.get(name))


def main(arguments: list[str]) -> int:
    """Write every dashboard, or check that the files are fresh; return the exit status."""
    texts = {f"{board.name}.json": text_of(board) for board in BOARDS}
    if "--check" in arguments:
        stale = stale_files(FOLDER, texts)
        if stale:
            sys.stderr.write(f"stale in {FOLDER}: {', '.join(stale)}: run make boards\n")
        return int(bool(stale))
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
