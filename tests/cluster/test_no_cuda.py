"""What the processes of a constellation import before they are forked leaves GPUs alone.

A process that has asked CUDA for devices cannot be forked, and Ray leaves all GPUs visible to
processes that claim none.
"""

import subprocess
import sys

from cluster.launcher import PRELOADED

PROGRAM = """
import sys
import torch

def refuse(*_, **__):
    raise SystemExit("CUDA was asked while importing")

torch.cuda.is_available = torch.cuda._lazy_init = torch.cuda.device_count = refuse
for name in sys.argv[1:]:
    __import__(name)
from constellation.kernel.network.devices import open_device
assert open_device("cpu").is_cpu
assert not torch.cuda.is_initialized()
try:
    open_device("cuda")
except SystemExit:
    print("left alone")
"""


def test_nothing_that_is_imported_before_a_fork_asks_for_gpus() -> None:
    command = [sys.executable, "-c", PROGRAM, *PRELOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "left alone"
