"""Vocabulary of a tokenizer as plain data: tokens, BPE merges, whole-string tokens; hash and JSON.

A trained `tokenizers` object is converted to this record once; everything that is stored, hashed or
built again comes from the record. The record holds no coordinates, and this file reads no files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from constellation.coordizer.bytelevel import (
    END_TEXT,
    NUM_BYTES,
    build_tokenizer,
    byte_characters,
    token_to_bytes,
)
from constellation.errors import ConfigError

END_ID = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Tokens in the order of their ids, and the merges by which text becomes tokens."""

    tokens: tuple[str, ...]
    """Token strings: `<|end|>`, the 256 bytes, one per merge, then the whole strings."""
    merges: tuple[tuple[str, str], ...]
    """Pairs of token strings in rank order."""
    whole_strings: tuple[str, ...] = ()
    """Extension tokens as plain text, matched before any merge; they have the last ids."""
    criterion: str = "count"
    """Criterion by which the merges were chosen: "count" or "phi"."""

    def __post_init__(self) -> None:
        known = set(self.tokens)
        if len(known) != len(self.tokens) or self.tokens[:1] != (END_TEXT,):
            raise ConfigError(f"tokens must be unique and start with {END_TEXT!r}")
        if not known.issuperset(byte_characters()):
            raise ConfigError(f"a vocabulary needs all {NUM_BYTES} byte tokens")
        if self.tokens[len(self.tokens) - len(self.whole_strings) :] != self.whole_strings:
            raise ConfigError("the whole strings must be the last tokens")

    def build(self) -> Tokenizer:
        """Return a `tokenizers` object that encodes by this vocabulary."""
        merged = self.tokens[: len(self.tokens) - len(self.whole_strings)]
        ids = {token: index for index, token in enumerate(merged)}
        return build_tokenizer(ids, self.merges, self.whole_strings)

    def token_bytes(self) -> tuple[bytes, ...]:
        """Return the bytes of every token in id order; the end token stands for no bytes."""
        num_merged = len(self.tokens) - len(self.whole_strings)
        merged = [token_to_bytes(token) for token in self.tokens[1:num_merged]]
        return (b"", *merged, *(text.encode() for text in self.whole_strings))

    def vocab_json(self) -> bytes:
        """Return the content of `vocab.json`: token string -> id, in id order."""
        return _compact({token: index for index, token in enumerate(self.tokens)})

    def merge_rules_json(self) -> bytes:
        """Return the content of `merge_rules.json`: criterion, ranked merges, whole strings."""
        rules = {
            "criterion": self.criterion,
            "merges": self.merges,
            "whole_strings": self.whole_strings,
        }
        return _compact(rules)

    def sha256(self) -> str:
        """Return the sha256 (hex) of tokens, merges and whole strings: the vocabulary's id."""
        digest = hashlib.sha256(self.vocab_json())
        digest.update(b"\0")
        digest.update(self.merge_rules_json())
        return digest.hexdigest()


def from_tokenizer(tokenizer: Tokenizer, *, criterion: str) -> Vocabulary:
    """Convert a newly trained `tokenizers` object to a `Vocabulary`."""
    model = json.loads(tokenizer.to_str())["model"]
    return _from_parts(
        model["vocab"], {"criterion": criterion, "merges": model["merges"], "whole_strings": []}
    )


def from_json(vocab: bytes, merge_rules: bytes) -> Vocabulary:
    """Build a `Vocabulary` from the contents of `vocab.json` and `merge_rules.json`.

    Raises:
        ConfigError: The contents are not a vocabulary with merges.
    """
    try:
        return _from_parts(json.loads(vocab), json.loads(merge_rules))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a vocabulary with merge rules ({error!r})") from error


def _from_parts(ids: Mapping[str, int], rules: Mapping[str, Any]) -> Vocabulary:
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ConfigError(f"ids must run from 0 to {len(tokens) - 1} without gaps")
    return Vocabulary(
        tokens=tuple(tokens),
        merges=tuple((left, right) for left, right in rules["merges"]),
        whole_strings=tuple(rules["whole_strings"]),
        criterion=rules["criterion"],
    )


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
