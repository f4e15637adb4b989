"""A tiny training whose guard goes back and then gives up; its status files are kept.

The guard of the recipe is set so tight that the ordinary noise of the loss is a spike: each kernel
goes back to its last good checkpoint twice and then fails, as an unstable run does, within minutes.
In mode per-actor the status of the run names each kernel that has failed.
"""

import json
import random
import subprocess
import threading
from pathlib import Path

from cluster.subprocesses import module_command

TRAIN_S = 240.0
"""Most seconds that the training may take."""
_LOOK_S = 0.05
_WORDS = {
    "sea": ("wave", "tide", "salt", "harbour", "anchor", "gull", "keel", "drift", "storm", "sail"),
    "bake": ("flour", "yeast", "oven", "crust", "knead", "rise", "butter", "loaf", "sugar", "salt"),
}
_RECIPE = """
name = "unstable"
mode = "per-actor"
[corpus]
paths = ["text"]
[coordizer]
vocab_size = 320
[kernel]
width = 16
num_layers = 1
num_heads = 2
mlp_width = 32
context = 128
[branch_stage]
steps = 3000
batch_size = 16
learning_rate = 1e-2
[guards]
loss_scales = 0.1
loss_share = 0.005
confirm = 2
tries_max = 2
recover_steps = 500
"""


def train_unstable(folder: Path) -> Path:
    """Train in `folder` until the run has failed; return the folder with `status-0000.json` and on.

    Raises:
        subprocess.TimeoutExpired: The training neither failed nor finished in time.
    """
    _write_text(folder / "text")
    (folder / "unstable.toml").write_text(_RECIPE, encoding="utf-8")
    command = module_command("cluster.cli.main", "train", "unstable.toml", "--out", "out")
    ended = threading.Event()
    copying = threading.Thread(target=_keep_all, args=(folder, ended))
    copying.start()
    try:
        with (folder / "train.log").open("wb") as log:
            subprocess.run(
                command, check=False, cwd=folder, stdout=log, stderr=log, timeout=TRAIN_S
            )
    finally:
        ended.set()
        copying.join()
    return folder


def _write_text(folder: Path) -> None:
    source = random.Random(0)
    for domain, words in _WORDS.items():
        (folder / domain).mkdir(parents=True)
        for number in range(24):
            lines = (" ".join(source.choices(words, k=9)) for _ in range(30))
            (folder / domain / f"{number}.txt").write_text(
                "\n".join(lines) + "\n", encoding="utf-8"
            )


def _keep_all(folder: Path, ended: threading.Event) -> None:
    """Keep a copy of each version of the run's status file."""
    path, last, number = folder / "out" / "status.json", "", 0
    is_last_look = False
    while not is_last_look:
        is_last_look = ended.wait(_LOOK_S)
        text = path.read_text("utf-8") if path.exists() else ""
        if text and text != last and "kernels" in json.loads(text):
            (folder / f"status-{number:04}.json").write_text(text, encoding="utf-8")
            last, number = text, number + 1
