"""Score a text under a `transformers` model: nats of the text's tokens."""

from math import log

from constellation.kernel.hugging_face.transformers_model import LoadedModel
from constellation.kernel.writing.scoring import token_nats
from constellation.records import Score


def score_text(loaded: LoadedModel, context: str, text: str) -> Score:
    """Say how likely `text` is after `context`.

    Each is cut into tokens by itself. The first token of all is read after the token that begins a
    text; where the model has none it counts as one of equally likely ones.

    Args:
        loaded: The model.
        context: Read, not scored; may be empty.
        text: What is scored.
    """
    before = loaded.tokens.encode(context, opens=False) if context else []
    scored = loaded.tokens.encode(text, opens=False) if text else []
    opening = [] if loaded.opening_id is None else [loaded.opening_id]
    num_given = len(opening) + len(before)
    ids = [*opening, *before, *scored]
    known = 0.0
    if num_given == 0 and scored:
        known, num_given = log(loaded.network.config.vocab_size), 1
    nats = 0.0
    if len(ids) > num_given:
        nats = float(token_nats(loaded.network, ids).double()[num_given - 1 :].sum())
    return Score(nats=known + nats, num_tokens=len(scored))
