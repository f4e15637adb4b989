"""Where else numbers go: TensorBoard files that read back, an offline run of Weights & Biases."""

import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event as TensorBoardEvent

from constellation.errors import ConfigError
from tests.training.events import progress
from training.progress.events import PartStarted
from training.recipe import TrackingSection
from training.trackers.open_trackers import open_trackers
from training.trackers.scalars import scalars

TENSORBOARD = TrackingSection()
NOTHING = TrackingSection(tensorboard=False)


def read_back(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of the TensorBoard files in a folder, by the record format."""
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        at = 0
        while at < len(raw):
            (size,) = struct.unpack("<Q", raw[at : at + 8])
            event = TensorBoardEvent.FromString(raw[at + 12 : at + 12 + size])
            at += 12 + size + 4  # a checksum follows the length, and another the record
            for value in event.summary.value:
                yield value.tag, event.step, value.simple_value


def test_every_number_is_told_under_its_name_and_nothing_else() -> None:
    told = scalars(progress(phi=0.5, terms={"basin": 0.25}, gradient_norm=math.inf))
    assert told["loss/train_bits_per_byte"] == 2.0
    assert told["geometry/phi"] == 0.5
    assert told["terms/basin"] == 0.25
    assert {"geometry/kappa", "loss/held_out_bits_per_byte", "optimiser/gradient_norm"}.isdisjoint(
        told
    )


def test_each_kernel_has_tensorboard_files_that_read_back(tmp_path: Path) -> None:
    with open_trackers(TENSORBOARD, tmp_path, name="r") as tell:
        tell(PartStarted(part="kernels"))
        tell(progress(step=1))
        tell(progress(kernel="sky", step=2, bits_per_byte=1.25))
        tell(progress(step=10, bits_per_byte=1.5))
    losses = {
        name: [
            (step, value)
            for tag, step, value in read_back(tmp_path / "tensorboard" / name)
            if tag == "loss/train_bits_per_byte"
        ]
        for name in ("sea", "sky")
    }
    assert losses == {"sea": [(1, 2.0), (10, 1.5)], "sky": [(2, 1.25)]}


def test_a_run_that_trains_nothing_writes_no_files(tmp_path: Path) -> None:
    with open_trackers(TENSORBOARD, tmp_path, name="r") as tell:
        tell(PartStarted(part="kernels"))
    with open_trackers(NOTHING, tmp_path, name="r") as tell:
        tell(progress())
    assert list(tmp_path.iterdir()) == []


def test_what_was_told_is_on_disk_when_training_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with open_trackers(TENSORBOARD, tmp_path, name="r") as tell:
            tell(progress(step=3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {step for _, step, _ in read_back(tmp_path / "tensorboard" / "sea")} >= {3}


def test_a_missing_package_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    section = TrackingSection(tensorboard=False, wandb_project="p")
    with (
        pytest.raises(ConfigError, match=r"'dist/WHEEL\[wandb\]'"),
        open_trackers(section, tmp_path, name="r"),
    ):
        pass


def test_an_offline_run_of_wandb_holds_every_number(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the optional extra `wandb` is not installed")
    section = TrackingSection(tensorboard=False, wandb_project="p")
    with open_trackers(section, tmp_path, name="r") as tell:
        for step, bits in ((1, 2.0), (2, 1.5)):
            tell(progress(step=step, bits_per_byte=bits))
    (run,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    rows = list(_wandb_rows(run))
    assert [row["sea/step"] for row in rows] == ["1", "2"]
    assert [row["sea/loss/train_bits_per_byte"] for row in rows] == ["2", "1.5"]


def _wandb_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield what each `log` call of an offline run wrote.

    The file is a LevelDB log: a header of 7 bytes, then records of checksum, length and kind in 7
    bytes. A run this short has no record that spans two blocks of 32 KiB.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    raw = path.read_bytes()
    at = 7
    while at + 7 <= len(raw):
        _, size, kind = struct.unpack("<IHB", raw[at : at + 7])
        assert kind == 1, "a whole record"
        record = Record.FromString(raw[at + 7 : at + 7 + size])
        at += 7 + size
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or ".".join(item.nested_key): item.value_json
                for item in record.history.item
            }
