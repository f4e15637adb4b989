"""A kernel of 120 symbols learns pairs, joins a live constellation, and answers exactly there."""

from pathlib import Path

import pytest

from cluster.kernel_changes import join, make_kernel
from cluster.state_file import RunState
from constellation import Client
from constellation.errors import IncompatibleKernels, UnknownSymbol
from constellation.records import OWN_VOCABULARY, Mode
from tests.serving.test_growth import say
from tests.support.artifacts import PROMPTS
from tests.support.pairs import question, task_recipe, write_task
from training.pair_files import read_pairs, split_pairs
from training.pair_run import train_pairs
from training.progress.events import ignore

pytestmark = pytest.mark.ray


def test_a_kernel_of_symbols_serves_beside_kernels_of_bytes(
    constellation: RunState, artifacts: Path, tmp_path: Path
) -> None:
    task = write_task(tmp_path / "task")
    result = train_pairs(task_recipe(task), tmp_path / "out")
    pairs = read_pairs(task / "pairs.jsonl")
    held_out = split_pairs(task, pairs, held_out_share=0.1).held_out[:30]
    with Client(constellation.endpoint) as stars:
        said = {name: say(stars, name) for name in PROMPTS}
        folder = result.out / "kernels" / "mirror"
        made = make_kernel(artifacts, "mirror", folder, result.out / "text", ignore)
        join(artifacts, made, stars)
        (joined,) = (each for each in stars.status().kernels if each.name == "mirror")
        assert joined.vocabulary == "120 symbols"  # known at once, not at the next heartbeat
        answers = [stars.ask(pair.prompt, kernel="mirror", temperature=0) for pair in held_out]
        assert [reply.text for reply in answers] == [pair.answer for pair in held_out]
        assert {reply.finish.reason for reply in answers} == {"end"}
        text = "".join(f"{pair.prompt}{pair.answer}\n" for pair in pairs[:8])
        assert stars.route(text).kernel == "mirror"
        with pytest.raises(UnknownSymbol, match="at character 2"):
            stars.ask(question("ab日"), kernel="mirror")
        with pytest.raises(IncompatibleKernels):
            stars.ask(PROMPTS["mail"], mode=Mode.MIXTURE, top_k=4)
        assert stars.score("cba", context="abc>", kernel="mirror").num_tokens == 3
        kernels = {kernel.name: kernel for kernel in stars.status().kernels}
        assert kernels["mirror"].vocabulary == "120 symbols"
        assert kernels["mirror"].capabilities == OWN_VOCABULARY
        assert kernels["mail"].vocabulary == "coordizer"
        assert {name: say(stars, name) for name in PROMPTS} == said
        assert stars.retire("mirror").left == ("mirror",)
        assert stars.status().num_unexpected_errors == 0
