"""Several kernel processes of a real constellation write one text together."""

import numpy as np
import pytest
import torch

from cluster.state_file import RunState
from constellation import Client
from constellation.coordizer.coordizer import Coordizer
from constellation.kernel.files.checkpoint import load_kernel
from constellation.records import FloatArray
from constellation.routing.mixture import joint_logits
from constellation.settings import Settings
from tests.support.artifacts import MODULES, PROMPTS

pytestmark = pytest.mark.ray


def between(stars: Client, one: str, other: str) -> FloatArray:
    """Return a basin at which two kernels have a part of the weight each; it keeps their weights.

    These kernels have little text and so sharp a temperature that most texts give one all of it.
    """
    basins = {each.name: each.basin_K for each in stars.status().kernels}
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        mixed_K = (1 - share) * basins[one] + share * basins[other]
        nearest, second, *_ = stars.route("", basin=mixed_K, top_k=2).choices
        if {nearest.kernel, second.kernel} == {one, other} and nearest.weight < 0.8:
            return mixed_K
        low, high = (share, high) if nearest.kernel == one else (low, share)
    raise AssertionError("another kernel lies between them")


def test_a_mixture_over_processes_is_the_one_computed_offline(
    constellation: RunState, settings: Settings
) -> None:
    coordizer = Coordizer.load(settings.artifacts / "coordizer")
    decoders = {
        name: load_kernel(settings.artifacts / "kernels" / name).decoder for name in MODULES
    }
    prompt = PROMPTS["network"]
    with Client(constellation.endpoint) as stars:
        asked = {"temperature": 0, "tokens_max": 20, "logprobs": 0}
        asked["basin"] = between(stars, "mail", "numbers")
        reply = stars.ask(prompt, mode="mixture", top_k=2, **asked)
        alone = stars.ask(prompt, **asked)
        followed = stars.ask(prompt, mode="mixture", top_k=3, temperature=0, tokens_max=20)
    weights = {choice.kernel: choice.weight for choice in reply.route.choices[:2]}
    assert max(weights.values()) < 0.9
    text = coordizer.encode(prompt).tolist()
    for written in reply.logprobs:
        with torch.inference_mode():
            read = torch.tensor([text])
            logits_kV = np.stack([decoders[name](read)[0, -1].numpy() for name in weights])
        joint_V, _ = joint_logits(logits_kV, np.array(list(weights.values())))
        assert written.token == int(joint_V.argmax())
        expected = -np.log(np.exp(joint_V - joint_V.max()).sum())
        assert written.logprob == pytest.approx(expected, abs=1e-3)
        text.append(written.token)
    assert len(reply.tokens) == 20
    assert abs(reply.logprobs[0].logprob - alone.logprobs[0].logprob) > 1e-2
    assert reply.finish.weights == pytest.approx(weights)
    assert sum(followed.finish.weights.values()) == pytest.approx(1)
    assert (reply.finish.lost, followed.finish.lost) == ((), ())
