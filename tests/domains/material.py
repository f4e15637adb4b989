"""Domains of a few words each, small enough to be fitted in a blink."""

import random
from collections.abc import Collection
from functools import cache

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.domains.fit import FitOptions, Fitted, fit
from constellation.domains.record import Domain, make_domain
from constellation.wire.table_file import pack_table

WORDS = {
    "bake": "knead dough let rise near warm oven flour yeast crumb crust salt sugar butter loaf",
    "mend": "cut board plane joint glue clamp chisel saw sand varnish nail hinge drill level bench",
    "sail": "trim jib hold tiller westerly wind sea reef mast keel anchor harbour tide rope deck",
    "sing": "tenor chord octave verse hum scale choir bass tune rhythm pitch alto melody treble",
    "walk": "boots trail ridge map compass stile valley hedge gate summit cairn brook moor path",
}
COMMON = "the and with for then when it is on at of to a by from"
NAMES = tuple(WORDS)

Text = tuple[str, str]


def texts(name: str, count: int, *, seed: int = 0, num_words: int = 40) -> list[Text]:
    """Return source and text of documents: half of their words are the domain's own.

    Two documents come from each source, and some have blanks at their ends.
    """
    rng = random.Random(f"{name} {seed} {count}")
    strange = " ".join(words for other, words in WORDS.items() if other != name).split()
    made = []
    for number in range(count):
        kinds = [WORDS[name].split(), COMMON.split(), strange]
        picked = [rng.choice(rng.choices(kinds, [6, 6, 1])[0]) for _ in range(num_words)]
        ends = rng.choice([("", ""), ("", "\n"), ("  ", ""), ("\n", " \n\n")])
        made.append((f"{seed}-{number // 2}.txt", " ".join(picked).join(ends)))
    return made


@cache
def coordizer() -> Coordizer:
    """Return a coordizer that was trained on the first three domains."""
    labels = [name for name in NAMES[:3] for _ in range(12)]
    documents = [text for name in NAMES[:3] for _, text in texts(name, 12)]
    return train_coordizer(documents, labels, vocab_size=400)


@cache
def domain(name: str) -> Domain:
    """Return the record of twelve training documents and four held-out ones."""
    return make_domain(name, texts(name, 12), texts(name, 4, seed=1), coordizer())


def bits(fitted: Fitted) -> tuple[bytes, ...]:
    """Return all that is served of what was fitted."""
    parts = fitted.coordizer.parts
    arrays = (parts.conditional_VK, parts.background_K, parts.counts_VK)
    shares = [
        f"{site.name} {share.family}".encode() + share.basin_K.tobytes() + share.bearing_K.tobytes()
        for site in fitted.table.sites
        if (share := site.share) is not None
    ]
    return (
        *(array.tobytes() for array in arrays),
        repr((dict(parts.blocks), parts.provenance)).encode(),
        pack_table(fitted.table),
        *shares,
    )


def fitted_bits(
    domains: Collection[Domain], options: FitOptions | None = None
) -> tuple[bytes, ...]:
    """Return the bits of a set of records, fitted."""
    return bits(fit(domains, coordizer(), options))
