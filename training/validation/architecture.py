"""Check an architecture in six ways, on a network with any weights.

The checks test the network's behaviour, not its configuration: later tokens are changed, passes are
counted from outside, couplings are changed and attention is measured again.

Shapes: B texts, T tokens, V vocabulary, C channels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidBasin
from constellation.geometry import check_simplex, distance
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import LOOPS_LEAST
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths, RecurrentBlock
from constellation.kernel.observables.kappa import kappa_measured
from training.validation.check import Check, not_applicable

TOKENS: Final = 64
"""Number of tokens of a test text, or the context where that is shorter."""
TEXTS: Final = 2

CAUSAL_TOLERANCE: Final = 1e-4
"""Change of a logit, relative to the largest logit, that counts as rounding."""
KAPPA_RANGE: Final = (0.1, 100.0)
"""Allowed couplings; outside, attention is flat or looks at one key only."""
SLOPE: Final = 0.5
"""Slopes of plus and minus this value are tried, to see whether attention changes with length."""
RESPONSE_LEAST: Final = 0.01
"""Relative change of the measured coupling that counts as a response."""
BASIN_RESPONSE_LEAST: Final = 1e-3
"""Radians between the basins of two texts that count as a response."""


def check_architecture(decoder: Decoder) -> tuple[Check, ...]:
    """Run the six checks on a network in float32, whose weights and gradients stay as they were."""
    length = min(TOKENS, decoder.config.context)
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(decoder.config.vocab_size, (TEXTS, length), generator=generator)
    return (
        causality(decoder, tokens_BT),
        shapes(decoder, tokens_BT),
        gradient_flow(decoder, tokens_BT),
        recursion_depth(decoder, tokens_BT),
        couplings(decoder, tokens_BT),
        basin_head(decoder, tokens_BT),
    )


@torch.no_grad()
def causality(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check that no logit depends on a later token, read at once or in two pieces."""
    name, length = "causality", tokens_BT.shape[1]
    if length < 2:
        return not_applicable(name, "a context of one token has nothing later")
    logits_BTV = decoder(tokens_BT)
    scale = float(logits_BTV.abs().max())
    at_once = pieces = 0.0
    for cut in {1, length // 2, length - 1}:
        changed_BT = tokens_BT.clone()
        changed_BT[:, cut:] = (changed_BT[:, cut:] + 1) % decoder.config.vocab_size
        at_once = max(at_once, _largest(decoder(changed_BT)[:, :cut] - logits_BTV[:, :cut]))
        cache = KVCache(decoder.config, batch=len(tokens_BT), dtype=decoder.embedding.dtype)
        read = [decoder(piece, cache) for piece in (tokens_BT[:, :cut], tokens_BT[:, cut:])]
        pieces = max(pieces, _largest(torch.cat(read, 1) - logits_BTV))
    value = max(at_once, pieces) / scale if scale > 0 else math.nan
    return Check(
        name=name,
        passed=value <= CAUSAL_TOLERANCE,
        value=value,
        limit=CAUSAL_TOLERANCE,
        detail=f"largest change of a logit over the largest logit ({scale:.3g}) when later tokens "
        f"change: {at_once / max(scale, 1e-30):.1e}, when read in two pieces with a cache: "
        f"{pieces / max(scale, 1e-30):.1e}",
    )


@torch.no_grad()
def shapes(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check the shapes of logits and hidden states, and the number of parameters by formula."""
    config = decoder.config
    counted = sum(parameter.numel() for parameter in decoder.parameters())
    formula = config.num_parameters()
    hidden_BTC = decoder.hidden(tokens_BT)
    logits_BTV = decoder.logits(hidden_BTC)
    right = (
        hidden_BTC.shape == (*tokens_BT.shape, config.width)
        and logits_BTV.shape == (*tokens_BT.shape, config.vocab_size)
        and counted == formula
    )
    return Check(
        name="shapes and parameter count",
        passed=right,
        value=counted,
        limit=formula,
        detail=f"{counted:,} parameters, the formula says {formula:,}; hidden states "
        f"{tuple(hidden_BTC.shape)}, logits {tuple(logits_BTV.shape)}",
    )


def gradient_flow(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check that every parameter receives a gradient that is finite and not all zeros."""
    parameters = dict(decoder.named_parameters())
    learning = {name: p for name, p in parameters.items() if p.requires_grad}
    gradients: dict[str, Tensor | None] = dict.fromkeys(parameters)
    if learning:
        found = torch.autograd.grad(
            _objective(decoder, tokens_BT), list(learning.values()), allow_unused=True
        )
        gradients |= dict(zip(learning, found, strict=True))
    dry = [name for name, gradient in gradients.items() if not _flows(gradient)]
    listed = f": {', '.join(dry[:4])}{' ...' if len(dry) > 4 else ''}" if dry else ""
    return Check(
        name="gradient flow",
        passed=not dry,
        value=len(dry),
        limit=0,
        detail=f"{len(dry)} of {len(parameters)} tensors receive no finite gradient{listed}",
    )


@torch.no_grad()
def recursion_depth(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check that recurrent layers are really passed three times or more."""
    name = "recursion depth"
    layers = [block for block in decoder.blocks if isinstance(block, RecurrentBlock)]
    if not layers:
        return not_applicable(name, "no layer recurs")
    calls = dict.fromkeys(range(len(layers)), 0)

    def counter(index: int) -> object:
        def count(*_: object) -> None:
            calls[index] += 1

        return layers[index].block.register_forward_hook(count)

    handles = [counter(index) for index in calls]
    depths = Depths()
    try:
        decoder.hidden(tokens_BT, depths=depths)
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    counted, reported = min(calls.values()), depths.mean or 0.0
    value = min(float(counted), reported)
    return Check(
        name=name,
        passed=value >= LOOPS_LEAST,
        value=value,
        limit=LOOPS_LEAST,
        detail=f"{len(layers)} layers recur; fewest passes counted {counted}, mean passes per "
        f"token reported {reported:.2f}",
    )


@torch.no_grad()
def couplings(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check that couplings are in range, and that attention follows their size and length law."""
    name, coupling, config = "attention couplings", decoder.coupling, decoder.config
    if coupling is None:
        return not_applicable(name, "dot-product attention has no coupling")
    kappa_NH = coupling.log_kappa_NH.float().exp()
    low, high = float(kappa_NH.min()), float(kappa_NH.max())
    in_range = KAPPA_RANGE[0] <= low and high <= KAPPA_RANGE[1]
    length = _discriminating_length(tokens_BT.shape[1], config.coupling_reference_length)
    gained = kappa_measured(decoder, tokens_BT, length=length).value or 0.0
    plausible = 0 <= gained <= math.log(length)
    with _moved(coupling.log_kappa_NH, add=math.log(2)):
        doubled = kappa_measured(decoder, tokens_BT, length=length).value or 0.0
    responses = {"twice the coupling": _change(gained, doubled)}
    if config.learns_beta:
        responses[f"slopes of -{SLOPE} and {SLOPE}"] = _change(
            *(_gained_at_slope(decoder, tokens_BT, length, slope) for slope in (-SLOPE, SLOPE))
        )
    value = min(responses.values())
    changes = ", ".join(f"{what} {change:.1%}" for what, change in responses.items())
    return Check(
        name=name,
        passed=in_range and plausible and value >= RESPONSE_LEAST,
        value=value,
        limit=RESPONSE_LEAST,
        detail=f"kappa from {low:.3g} to {high:.3g} (allowed {KAPPA_RANGE[0]:g} to "
        f"{KAPPA_RANGE[1]:g}); {gained:.4f} nats of attention information at {length} keys (at "
        f"most {math.log(length):.2f}); relative change of it with {changes}"
        + ("" if config.learns_beta else "; no slope is learned"),
    )


@torch.no_grad()
def basin_head(decoder: Decoder, tokens_BT: Tensor) -> Check:
    """Check that the basin head gives simplex points that differ between texts."""
    name = "basin head"
    if decoder.config.basin_outcomes is None:
        return not_applicable(name, "the kernel has no basin head")
    basins_BK = decoder.basin(decoder.hidden(tokens_BT)).double()
    try:
        check_simplex(basins_BK.numpy())
    except (InvalidBasin, ConfigError) as error:
        return Check(name=name, passed=False, detail=f"off the simplex: {error}")
    apart = float(distance(basins_BK[0], basins_BK[1]))
    return Check(
        name=name,
        passed=apart >= BASIN_RESPONSE_LEAST,
        value=apart,
        limit=BASIN_RESPONSE_LEAST,
        detail=f"on the simplex of {basins_BK.shape[1]} outcomes; two random texts lie "
        f"{apart:.4f} rad apart",
    )


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _flows(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.any())


def _objective(decoder: Decoder, tokens_BT: Tensor) -> Tensor:
    """Return a number that depends on every parameter: next tokens, and the basin of the text."""
    hidden_BTC = decoder.hidden(tokens_BT)
    loss = decoder.mean_nats(hidden_BTC[:, :-1], tokens_BT[:, 1:])
    if decoder.config.basin_outcomes is not None:
        loss = loss - decoder.basin(hidden_BTC)[:, 0].log().mean()
    return loss


def _discriminating_length(longest: int, reference: int) -> int:
    """Return a length at which the length-dependent coupling differs from its reference value."""
    near = abs(math.log(longest / reference)) < 0.5
    return max(2, longest // 2) if near and longest > 2 else longest


def _change(before: float, after: float) -> float:
    return abs(after - before) / max(abs(before), abs(after), 1e-12)


def _gained_at_slope(decoder: Decoder, tokens_BT: Tensor, length: int, slope: float) -> float:
    assert decoder.coupling is not None
    with _moved(decoder.coupling.beta_NH, to=slope):
        return kappa_measured(decoder, tokens_BT, length=length).value or 0.0


@contextmanager
def _moved(
    parameter: Tensor, *, add: float | None = None, to: float | None = None
) -> Iterator[None]:
    """Change a parameter in place while the block runs."""
    before = parameter.detach().clone()
    try:
        parameter.add_(add or 0.0) if to is None else parameter.fill_(to)
        yield
    finally:
        parameter.copy_(before)
