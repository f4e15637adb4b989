"""Records -> JSON objects as OpenAI's API gives them, with `constellation` beside theirs.

No input or output here: ids and times come from the caller. A route becomes an object when it is
encoded. Shapes: K outcomes of the simplex.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from constellation.records import (
    Finish,
    FinishReason,
    FloatArray,
    Piece,
    Route,
    Table,
    TokenLogprob,
)
from constellation.wire.http.bodies import MODEL
from constellation.wire.http.logprobs import CompletionLogprobs, chat_logprobs

Json = dict[str, Any]

_FINISH = {
    FinishReason.END: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
}


def usage(finish: Finish) -> Json:
    """Return how many tokens were read and written."""
    return {
        "prompt_tokens": finish.num_prompt_tokens,
        "completion_tokens": finish.num_tokens,
        "total_tokens": finish.num_prompt_tokens + finish.num_tokens,
    }


@dataclass(slots=True)
class Writer:
    """Writes one answer, whole or in chunks."""

    id: str
    created_s: int
    """Seconds since the epoch."""
    model: str
    """As the caller named it."""
    is_chat: bool
    include_usage: bool = False
    """In chunks: name the usage, in one more of them at the end."""
    adjusted: Mapping[str, int] = field(default_factory=dict)
    """Limits of the request that count for less than was asked -> what counts."""
    _fingerprint: Json = field(default_factory=dict)
    _num_characters: int = 0
    _completion_logprobs: CompletionLogprobs = field(default_factory=CompletionLogprobs)

    def whole(self, route: Route, piece: Piece) -> Json:
        """Return a whole answer."""
        assert piece.finish is not None
        kind = "chat.completion" if self.is_chat else "text_completion"
        choice = self._choice("message", piece)
        return {
            **self._head(kind, route),
            "choices": [choice],
            "usage": usage(piece.finish),
            "constellation": {**self._opening(route), **_writers(piece.finish)},
        }

    def chunk(self, route: Route | None, piece: Piece) -> Json:
        """Return one piece of an answer; the first one has the route and what was adjusted."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        choice = self._choice("delta", piece, opening=route is not None)
        content = {**self._head(kind, route), "choices": [choice]}
        if self.include_usage:
            content["usage"] = None
        told = {} if route is None else self._opening(route)
        if told := told | _writers(piece.finish):
            content["constellation"] = told
        return content

    def last_chunk(self, finish: Finish) -> Json:
        """Return the chunk that follows the answer and says what it took."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return {**self._head(kind, None), "choices": [], "usage": usage(finish)}

    def _head(self, kind: str, route: Route | None) -> Json:
        if route is not None:  # only the first chunk comes with it; all of them have the field
            self._fingerprint = fingerprint(route.table_version)
        head = {"id": self.id, "object": kind, "created": self.created_s, "model": self.model}
        return {**head, **self._fingerprint}

    def _opening(self, route: Route) -> Json:
        adjusted = {"adjusted": dict(self.adjusted)} if self.adjusted else {}
        return {"route": route, **adjusted}

    def _choice(self, key: str, piece: Piece, *, opening: bool = True) -> Json:
        finish = piece.finish
        self._num_characters += len(piece.text)
        choice: Json = {
            "index": 0,
            "logprobs": self._logprobs(piece.logprobs, is_last=finish is not None),
            "finish_reason": None if finish is None else _FINISH[finish.reason],
        }
        if not self.is_chat:
            choice["text"] = piece.text
        elif opening:
            choice[key] = {"role": "assistant", "content": piece.text, "refusal": None}
        else:
            choice[key] = {"content": piece.text} if piece.text else {}
        return choice

    def _logprobs(self, logprobs: Sequence[TokenLogprob], *, is_last: bool) -> Json | None:
        if not logprobs:
            return None
        if self.is_chat:
            return chat_logprobs(logprobs)
        length = self._num_characters if is_last else None
        return self._completion_logprobs.take(logprobs, num_characters=length)


def fingerprint(table_version: int) -> Json:
    """Return the field that changes when answers may: the version of the table."""
    return {"system_fingerprint": f"table-{table_version}"}


def models(table: Table, created_s: int) -> Json:
    """Return the constellation and its kernels as a list of models."""
    own = {"kernels": len(table.sites), "table_version": table.version}
    listed = [_model(MODEL, created_s, own)]
    listed += [
        _model(site.name, created_s, {"seat": site.seat, "up": site.endpoint is not None})
        for site in table.sites
        if site.name != MODEL
    ]
    return {"object": "list", "data": listed}


def _writers(finish: Finish | None) -> Json:
    """Return who wrote which part, or with what weight, when more than one kernel did."""
    if finish is None:
        return {}
    told: Json = {}
    if finish.segments:
        told["segments"] = [asdict(each) for each in finish.segments]
    if finish.weights:
        told["weights"] = dict(finish.weights)
        told |= {"lost": list(finish.lost), "lost_at": list(finish.lost_at)}
    return told


def _model(name: str, created_s: int, facts: Json) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": created_s,
        "owned_by": "constellation",
        "constellation": facts,
    }


def embeddings(basins_NK: Sequence[FloatArray], num_tokens: int, *, in_base64: bool) -> Json:
    """Return basins as embeddings.

    Args:
        basins_NK: One simplex point for every text.
        num_tokens: Of all texts together.
        in_base64: Little-endian float32 in base64, as OpenAI's clients ask for by themselves.
    """
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _base64(basin_K) if in_base64 else basin_K.tolist(),
        }
        for index, basin_K in enumerate(basins_NK)
    ]
    return {
        "object": "list",
        "model": MODEL,
        "data": data,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


def _base64(basin_K: FloatArray) -> str:
    return base64.b64encode(basin_K.astype(np.dtype("<f4")).tobytes()).decode()
