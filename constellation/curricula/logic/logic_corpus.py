"""Write a corpus of logic puzzles: pairs by split, the vocabulary of symbols, and a manifest.

`train.jsonl` and `symbols.json` are what training on pairs reads.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from constellation.curricula.logic.family_catalog import FAMILIES
from constellation.curricula.logic.formula_tree import ANSWERS
from constellation.curricula.logic.legacy_puzzles import legacy_items, overlaps
from constellation.curricula.logic.puzzle_generator import Item
from constellation.curricula.logic.puzzle_pairs import (
    PuzzlePair,
    Rendering,
    make_pair,
    mix_pairs,
)
from constellation.curricula.logic.puzzle_splits import TRAIN, generate_splits
from constellation.curricula.text_files import write_lines
from constellation.errors import ConfigError

LEGACY_SPLIT: Final = "legacy"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusPlan:
    """What a corpus of logic puzzles holds."""

    count: int = 2000
    """Puzzles of each family, 1 to 100,000; finite families may have fewer."""
    held_out_share: float = 0.2
    """Share of the trained families' puzzles that are held out, in (0, 1)."""
    seed: int = 0
    """Equal seeds give equal corpora."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Names of the families."""
    rendering: Rendering = field(default_factory=Rendering)
    """How puzzles are written."""
    pure_share: float | None = None
    """Share of the puzzles of each split that are pure; the others are scaffolded. If it is None,
    all have the form of `rendering`."""

    def __post_init__(self) -> None:
        for name in self.families:
            if name not in FAMILIES:
                raise ConfigError(f"no family {name!r}; the families are {', '.join(FAMILIES)}")
        if not self.families:
            raise ConfigError("families is empty; name at least one family")


def write_corpus(folder: Path, plan: CorpusPlan) -> dict[str, Any]:
    """Generate a corpus, write its files, and return the content of its manifest.

    Raises:
        ConfigError: A value of the plan is out of range, or a family has too few puzzles.
        CorpusError: A file cannot be written.
    """
    splits = generate_splits(
        [FAMILIES[name] for name in dict.fromkeys(plan.families)],
        plan.count,
        held_out_share=plan.held_out_share,
        seed=plan.seed,
    )
    pairs = {name: _pairs(items, plan) for name, items in splits.items() if items}
    legacy = legacy_items()
    flags = overlaps(legacy, {item.identity for item in splits[TRAIN]})
    pairs[LEGACY_SPLIT] = _pairs(legacy, plan)
    for name, some in pairs.items():
        extra = [{"overlap": flag} for flag in flags] if name == LEGACY_SPLIT else [{}] * len(some)
        lines = (_line(pair, more) for pair, more in zip(some, extra, strict=True))
        write_lines(folder / f"{name}.jsonl", lines)
    write_lines(folder / "symbols.json", [symbols(pairs.values())])
    manifest = _manifest(plan, splits, pairs, num_overlaps=sum(flags))
    write_lines(folder / "manifest.json", [json.dumps(manifest, ensure_ascii=False, indent=2)])
    return manifest


def _pairs(items: Sequence[Item], plan: CorpusPlan) -> list[PuzzlePair]:
    if plan.pure_share is not None:
        return mix_pairs(items, pure_share=plan.pure_share, rendering=plan.rendering)
    return [make_pair(item, plan.rendering) for item in items]


def _line(pair: PuzzlePair, extra: dict[str, bool]) -> str:
    return json.dumps({**asdict(pair), **extra}, ensure_ascii=False)


def symbols(pairs: Iterable[Iterable[PuzzlePair]]) -> str:
    """Return the vocabulary of symbols of some pairs, as JSON; the three answers always belong."""
    found = set("".join(ANSWERS))
    for some in pairs:
        for pair in some:
            found.update(pair.prompt, pair.answer)
    content = {"format": 1, "special": ["end"], "characters": "".join(sorted(found))}
    return json.dumps(content, ensure_ascii=False)


def _manifest(
    plan: CorpusPlan,
    splits: dict[str, list[Item]],
    pairs: dict[str, list[PuzzlePair]],
    *,
    num_overlaps: int,
) -> dict[str, Any]:
    return {
        "count": plan.count,
        "held_out_share": plan.held_out_share,
        "seed": plan.seed,
        "form": None if plan.pure_share is not None else plan.rendering.form,
        "surface": plan.rendering.surface,
        "with_reason": plan.rendering.with_reason,
        "pure_share": plan.pure_share,
        "num_pairs": {name: len(some) for name, some in pairs.items()},
        "num_legacy_overlaps": num_overlaps,
        "prompt_characters_max": max(len(p.prompt) for some in pairs.values() for p in some),
        "answers": {
            name: {
                family: dict(sorted(counts.items())) for family, counts in _counts(items).items()
            }
            for name, items in splits.items()
            if items
        },
    }


def _counts(items: Iterable[Item]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for item in items:
        counts.setdefault(item.family, Counter())[item.answer] += 1
    return counts
