"""Batches of pairs: what is learned of them, in which order, and by which worker."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from constellation.errors import CorpusError, TrainingError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import IGNORED
from training.batches import Batches, LossOn, Pairs, Windows
from training.exact_answers import exact_answers
from training.loop.step import Alone, StepConfig, Stepper
from training.pair_files import Pair, read_pairs, split_pairs

END = 0
GIVEN = [([1, 2], [3]), ([4], [5, 6, 7]), ([8, 9, 10], []), ([11], [12])]


def pairs(seed: int = 0, loss_on: LossOn = "answer", *, learns_end: bool = True) -> Pairs:
    chosen = GIVEN if learns_end else [pair for pair in GIVEN if pair[1]]
    return Pairs.of(
        chosen, end_id=END, context=8, seed=seed, loss_on=loss_on, learns_end=learns_end
    )


def learned(batches: Pairs, step: int, size: int) -> dict[tuple[int, ...], list[int]]:
    """Return prompt and answer, up to the end -> the targets that count."""
    inputs, targets = batches.batch(step, size)
    found = {}
    for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        text = tuple(token for token in row if token != END)
        found[text] = [token for token in wanted if token != IGNORED]
    return found


def test_the_answer_and_its_end_are_learned_and_the_prompt_is_not() -> None:
    assert learned(pairs(), 0, 4) == {
        (1, 2, 3): [3, END],
        (4, 5, 6, 7): [5, 6, 7, END],
        (8, 9, 10): [END],
        (11, 12): [12, END],
    }


def test_a_recipe_may_learn_the_whole_and_leave_the_end_out() -> None:
    assert learned(pairs(loss_on="whole"), 0, 4)[1, 2, 3] == [2, 3, END]
    without = learned(pairs(learns_end=False), 0, 3)
    assert without == {(1, 2, 3): [3], (4, 5, 6, 7): [5, 6, 7], (11, 12): [12]}


def test_targets_are_the_inputs_one_position_later_where_they_count() -> None:
    inputs, targets = pairs(loss_on="whole").batch(0, 4)
    assert inputs.dtype == targets.dtype == torch.int64
    counts = targets[:, :-1] != IGNORED
    assert torch.equal(targets[:, :-1][counts], inputs[:, 1:][counts])


@given(st.integers(0, 30), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))
def test_the_parts_of_all_workers_are_the_batch_of_one(
    step: int, size: int, world: int, seed: int
) -> None:
    tested = pairs(seed)
    whole = [part.tolist() for part in tested.batch(step, size)]
    rows = sorted(zip(*whole, strict=True))
    found = []
    for rank in range(world):
        part = tested.batch(step, size, rank=rank, world=world)
        found += list(zip(*(each.tolist() for each in part), strict=True))
    assert sorted(found) == rows


@given(st.integers(0, 30), st.integers(1, 7), st.integers(0, 3))
def test_a_batch_is_a_function_of_seed_and_step(step: int, size: int, seed: int) -> None:
    fresh, used = pairs(seed), pairs(seed)
    for other in (5, 0, 17):
        used.batch(other, 3)
    for one, two in zip(fresh.batch(step, size), used.batch(step, size), strict=True):
        assert torch.equal(one, two)


def test_every_epoch_shows_every_pair_once_in_another_order() -> None:
    tested = pairs(seed=1)
    epochs = [tested.batch(step, 4)[0][:, 0].tolist() for step in range(6)]
    assert all(sorted(epoch) == [1, 4, 8, 11] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2


@pytest.mark.parametrize(
    "batches", [pairs(), Windows.of(torch.arange(200).int().numpy(), context=8, seed=0)]
)
def test_a_batch_says_where_it_lies_and_how_much_of_it_counts(batches: Batches) -> None:
    for step in range(9):
        place = batches.place(step, 3)
        assert place.epoch * batches.per_epoch + place.position == 3 * step
        assert 0 <= place.position < batches.per_epoch
        assert place.num_counted == int((batches.batch(step, 3)[1] != IGNORED).sum())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "no pair"),
        ([([], [1])], "pair 0 has an empty prompt"),
        ([([1], [2]), ([1] * 5, [2] * 4)], "pair 1 has 5 tokens of prompt and 4 of answer"),
    ],
)
def test_pairs_that_cannot_be_learned_are_refused_by_number(
    given: list[tuple[list[int], list[int]]], complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint):
        Pairs.of(given, end_id=END, context=8, seed=0)
    with pytest.raises(TrainingError, match="empty answer"):
        Pairs.of([([1], [])], end_id=END, context=8, seed=0, learns_end=False)


CONFIG = KernelConfig(
    vocab_size=16, width=16, num_layers=1, num_heads=2, mlp_width=32, context=8, attention="dot"
)


def stepped(parts: int, *, count: bool = True) -> tuple[float, float]:
    """Return loss and gradient norm of a step that is computed in parts."""
    decoder = Decoder(CONFIG, seed=0)
    config = StepConfig(
        steps=4, batch_size=4, learning_rate=1e-2, accumulation_steps=parts, precision="float32"
    )
    batches = pairs()
    counted = batches.place(0, 4).num_counted if count else None
    result = Stepper(decoder, config, Alone()).step(
        *batches.batch(0, 4), 0, stop=False, num_counted=counted
    )
    return result.loss_nats, result.gradient_norm


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_every_answer_symbol_weighs_the_same_however_a_batch_is_split(parts: int) -> None:
    assert stepped(parts) == pytest.approx(stepped(1), rel=1e-5)
    assert stepped(parts, count=False) != pytest.approx(stepped(1), rel=1e-5)


def test_the_loss_is_the_mean_over_symbols_that_count() -> None:
    decoder = Decoder(CONFIG, seed=0)
    inputs, targets = pairs().batch(0, 4)
    logits = decoder(inputs).detach().flatten(0, 1)
    expected = functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)
    assert stepped(1)[0] == pytest.approx(float(expected), rel=1e-5)


def test_an_answer_is_exact_only_with_its_end() -> None:
    class Writes(Decoder):
        """Says the token after the last one, and the end after 5."""

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

        def hidden(self, tokens_BT: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
            super().hidden(tokens_BT, *args, **kwargs)  # type: ignore[arg-type]
            following = torch.where(tokens_BT == 5, 0, tokens_BT + 1)
            return functional.one_hot(following, CONFIG.vocab_size).float()

    asked = [([1, 3], [4, 5]), ([3], [4]), ([3], [4, 5, 6]), ([2, 2], [3, 4, 5])]
    found = exact_answers(Writes(CONFIG, seed=0).eval(), asked, end_id=END)
    assert (found.num_pairs, found.num_exact, found.share) == (4, 2, 0.5)


def test_a_file_of_pairs_is_read_and_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "answer": ""}\n\n{"prompt": "b\\u2028", "answer": "c"}\n')
    assert read_pairs(path) == (Pair("a", ""), Pair("b\u2028", "c"))
    for line in ("{", "[]", '{"prompt": "a"}', '{"prompt": "", "answer": "a"}'):
        path.write_text('{"prompt": "a", "answer": "b"}\n' + line)
        with pytest.raises(CorpusError, match="line 2"):
            read_pairs(path)
    path.write_text("")
    with pytest.raises(CorpusError, match="0 pairs"):
        read_pairs(path)


def test_equal_prompts_are_held_out_together_whatever_the_order(tmp_path: Path) -> None:
    given = [Pair(str(number % 200), str(number)) for number in range(600)]
    split = split_pairs(tmp_path, given, held_out_share=0.3)
    asked = [{pair.prompt for pair in side} for side in (split.train, split.held_out)]
    assert asked[0].isdisjoint(asked[1])
    assert 0.15 < len(split.held_out) / len(given) < 0.45
    turned = split_pairs(tmp_path, given[::-1], held_out_share=0.3)
    assert set(turned.held_out) == set(split.held_out)
    with pytest.raises(CorpusError, match="held out"):
        split_pairs(tmp_path, given[:1], held_out_share=0.3)
