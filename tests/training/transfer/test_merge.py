"""Merging kernels of a run: the figures, the gate, and what is refused."""

from pathlib import Path

import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.adapter_file import save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.kernel_merge import merge_kernels
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.decoder import Decoder
from tests.training.branches import CONFIG, build_run, spoil
from training.transfer.merge import MergeOptions, MergeReport, merge_folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run. Do not change it."""
    return build_run(tmp_path_factory.mktemp("run"))


def merge(run: Path, out: Path, *, folder: str = "kernels", **options: object) -> MergeReport:
    return merge_folders(
        [run / folder / "mail", run / folder / "numbers"],
        out=out,
        coordizer=Coordizer.load(run / "coordizer"),
        text=run / "held_out",
        options=MergeOptions(**options),  # type: ignore[arg-type]
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["kernels", "adapters"])
def test_both_averages_are_scored_and_the_wanted_one_is_written(
    finished: Path, tmp_path: Path, folder: str
) -> None:
    plain = merge(finished, tmp_path / "plain", folder=folder, allow_worse_bits=9.0)
    fisher = merge(finished, tmp_path / "fisher", folder=folder, allow_worse_bits=9.0, fisher=True)
    assert plain.fisher is None
    assert (plain.inputs, plain.plain) == (fisher.inputs, fisher.plain)
    assert fisher.fisher is not None
    assert fisher.fisher != fisher.plain
    written = [load_kernel(tmp_path / name) for name in ("plain", "fisher")]
    assert written[0].weights_hash != written[1].weights_hash
    assert written[1].facts["held_out_bits_per_byte"] == fisher.fisher
    assert written[0].facts["base_sha256"] == load_kernel(finished / "seed").weights_hash
    # What was merged can be merged again.
    again = merge_folders(
        [tmp_path / "plain", finished / "kernels" / "mail", finished / "seed"],
        out=tmp_path / "again",
        coordizer=Coordizer.load(finished / "coordizer"),
        text=finished / "held_out",
    )
    assert len(again.inputs) == 3


def test_what_is_written_is_the_average(finished: Path, tmp_path: Path) -> None:
    merge(finished, tmp_path / "out", allow_worse_bits=9.0)
    names = ("mail", "numbers")
    expected = merge_kernels([load_kernel(finished / "kernels" / n).decoder for n in names])
    found = load_kernel(tmp_path / "out").decoder.state_dict()
    assert all(torch.equal(found[name], t) for name, t in expected.state_dict().items())


def test_branches_of_one_base_are_better_together_on_both_domains(
    finished: Path, tmp_path: Path
) -> None:
    report = merge(finished, tmp_path / "out")
    assert report.written
    assert report.plain <= report.limit == min(report.inputs.values())
    assert report.num_documents == 2


def test_a_result_over_the_limit_is_not_written(finished: Path, tmp_path: Path) -> None:
    spoil(finished / "kernels" / "mail", tmp_path / "spoilt")
    report = merge_folders(
        [finished / "kernels" / "mail", tmp_path / "spoilt"],
        out=tmp_path / "out",
        coordizer=Coordizer.load(finished / "coordizer"),
        text=finished / "held_out",
    )
    assert not report.written
    assert report.plain > report.limit
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_own_text_takes_the_place_of_the_token_files(finished: Path, tmp_path: Path) -> None:
    text = finished / "held_out" / "mail.txt"
    same = merge(finished, tmp_path / "a", fisher=True, own_text=(text, text))
    own = merge(finished, tmp_path / "b", fisher=True)
    assert same.fisher != own.fisher
    with pytest.raises(ConfigError, match="2 inputs need as many own texts, got 1"):
        merge(finished, tmp_path / "c", fisher=True, own_text=(text,))


def test_kernels_of_different_bases_are_refused(finished: Path, tmp_path: Path) -> None:
    coordizer = Coordizer.load(finished / "coordizer")
    save_kernel(
        tmp_path / "alien",
        Decoder(CONFIG, seed=9),
        tokenizer_hash=coordizer.tokenizer_hash,
        facts={},
    )
    save_kernel(tmp_path / "mute", Decoder(CONFIG), tokenizer_hash="00" * 32, facts={})
    for folder, message in (("alien", "another base"), ("mute", "tokens of another coordizer")):
        with pytest.raises(ArtifactError, match=message):
            merge_folders(
                [finished / "kernels" / "mail", tmp_path / folder],
                out=tmp_path / "out",
                coordizer=coordizer,
                text=finished / "held_out",
            )
    with pytest.raises(ConfigError, match="two kernels or more"):
        merge_folders([], out=tmp_path, coordizer=coordizer, text=finished / "held_out")


def test_an_adapter_that_is_not_linear_is_refused(finished: Path, tmp_path: Path) -> None:
    base = load_kernel(finished / "seed")
    save_adapter(
        tmp_path / "a",
        attach(base.decoder, CoordinateConfig(num_coordinates=8)),
        base=base,
        base_folder=finished / "seed",
    )
    with pytest.raises(ConfigError, match="cannot be merged"):
        merge_folders(
            [tmp_path / "a", finished / "adapters" / "mail"],
            out=tmp_path / "out",
            coordizer=Coordizer.load(finished / "coordizer"),
            text=finished / "held_out",
        )


def test_a_fisher_without_training_text_says_what_to_give(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give its own text"):
        merge_folders(
            [finished / "seed", finished / "kernels" / "mail"],
            out=tmp_path,
            coordizer=Coordizer.load(finished / "coordizer"),
            text=finished / "held_out",
            options=MergeOptions(fisher=True),
        )


@pytest.mark.parametrize(
    "values",
    [{"fisher_windows": 0}, {"allow_worse_bits": -0.1}, {"own_text": (Path("a"), Path("b"))}],
)
def test_wrong_options_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(
        ConfigError, match=r"need fisher_windows|own text is only used by Fisher-weighted merging"
    ):
        MergeOptions(**values)  # type: ignore[arg-type]
