"""A `transformers` model's own tokens: text to ids, and the bytes that each id stands for.

With the bytes of a token, text comes out of tokens as it does for our own kernels, never half a
character (`constellation/coordizer/text_stream.py`). They are known for the two kinds of vocabulary
that causal models use: byte-level ones, and those that write a space as U+2581 and single bytes as
`<0x0A>`. Read by the library `tokenizers` alone.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from constellation.coordizer.bytelevel import token_to_bytes
from constellation.errors import ArtifactError
from constellation.kernel.files.transformers_folder import TOKENIZER_FILE, read_json

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_SINGLE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_PROBE = "Ünïted  \N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-65E5}\n\tx = {1: 'a'}\n"


class ModelTokens:
    """Text to a model's ids.

    Attributes:
        token_bytes: Bytes of every id; empty for tokens that are no text, such as an end.
    """

    def __init__(self, tokenizer: Tokenizer, token_bytes: tuple[bytes, ...]) -> None:
        self.token_bytes = token_bytes
        self._tokenizer = tokenizer

    def encode(self, text: str, *, opens: bool) -> list[int]:
        """Return the ids of a text; special tokens that are spelt out in it count as such."""
        # The batch call skips character offsets, which nobody asks for.
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=opens)
        ids: list[int] = encoding.ids
        return ids


def read_tokens(folder: Path, *, vocab_size: int, num_embeddings: int | None = None) -> ModelTokens:
    """Read the tokens of a model.

    Args:
        folder: Holds its `tokenizer.json`.
        vocab_size: Ids that the model can write; those without a token have no bytes.
        num_embeddings: Ids that the model can read; None: as many.

    Raises:
        ArtifactError: The file is damaged, has tokens that the model knows nothing of, or the
            bytes of its tokens cannot be known.
    """
    path = folder / TOKENIZER_FILE
    described = read_json(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise ArtifactError(path, f"it cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    known = min(vocab_size, vocab_size if num_embeddings is None else num_embeddings)
    _check_ids(path, tokenizer, known)
    tokens = ModelTokens(tokenizer, _token_bytes(path, tokenizer, described, vocab_size))
    _check_bytes(path, tokenizer, tokens)
    return tokens


def _check_ids(path: Path, tokenizer: Tokenizer, num_known: int) -> None:
    """Raise for a tokenizer with ids beyond the model's, since texts with them cannot be read."""
    beyond = {
        index: token
        for token, index in tokenizer.get_vocab(with_added_tokens=True).items()
        if index >= num_known
    }
    if beyond:
        first = min(beyond)
        raise ArtifactError(
            path,
            f"it has more tokens than the model's {num_known}: {len(beyond)} more, the first "
            f"{beyond[first]!r} with the id {first}; save the model with its own tokenizer, or "
            "after model.resize_token_embeddings(len(tokenizer))",
        )


def _token_bytes(
    path: Path, tokenizer: Tokenizer, described: Mapping[str, Any], vocab_size: int
) -> tuple[bytes, ...]:
    to_bytes = _kind(path, described.get("decoder"))
    known = [b""] * vocab_size
    added = tokenizer.get_added_tokens_decoder()
    try:
        for token, index in tokenizer.get_vocab(with_added_tokens=True).items():
            if index < vocab_size and index not in added:
                known[index] = to_bytes(token)
    except KeyError as error:
        raise ArtifactError(path, f"a token holds {error}, which stands for no byte") from error
    for index, extra in added.items():
        if index < vocab_size and not extra.special:
            known[index] = extra.content.encode()
    return tuple(known)


def _kind(path: Path, decoder: Any) -> Callable[[str], bytes]:
    """Return how token strings of this vocabulary are turned into bytes."""
    kinds = {part.get("type") for part in _parts(decoder)}
    if "ByteLevel" in kinds:
        return token_to_bytes
    if kinds & {"Metaspace", "ByteFallback"}:
        return _spaced_bytes
    raise ArtifactError(
        path, f"its decoder {sorted(map(str, kinds))} is neither byte-level nor with byte fallback"
    )


def _parts(decoder: Any) -> list[dict[str, Any]]:
    if not isinstance(decoder, dict):
        return []
    parts = decoder.get("decoders", [decoder])
    return [part for part in parts if isinstance(part, dict)]


def _spaced_bytes(token: str) -> bytes:
    single = _SINGLE_BYTE.fullmatch(token)
    return bytes([int(single[1], 16)]) if single else token.replace(_SPACE, " ").encode()


def _check_bytes(path: Path, tokenizer: Tokenizer, tokens: ModelTokens) -> None:
    """Compare the bytes with the text that the library itself decodes from the same tokens."""
    ids = tokens.encode(_PROBE, opens=False)
    joined = b"".join(tokens.token_bytes[index] for index in ids).decode(errors="replace")
    # A space that the vocabulary puts before a text is no part of it; the library takes it off.
    if joined.removeprefix(" ") != tokenizer.decode(ids).removeprefix(" "):
        raise ArtifactError(path, "the bytes of its tokens do not join to the text that they mean")
