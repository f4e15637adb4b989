"""Load teachers, kernels or Hugging Face models, as sources of soft targets or of text.

Shapes: B sequences, T positions, C channels of the teacher, V tokens, M rows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, ConfigError, InvalidPrompt
from constellation.kernel.adapters.adapter_file import ADAPTER_FILE
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import KERNEL_FILE
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import generate
from constellation.records import Sampling
from training.transfer import hugging_face

_PROBE: Final = "def probe(x):\n    return ' Ünïcode 123 ' + x  # 😀\n"
"""Text on which two tokenizers of one vocabulary must agree."""


class Teacher(Protocol):
    """A frozen model that uses the student's own tokens; a `Decoder` is a teacher as it is."""

    def to(self, device: torch.device) -> object:
        """Move the weights."""

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return final hidden states, shape (B, T, C)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits that hidden states stand for, shape (..., V)."""


Writer = Callable[[str, Sampling], str]
"""Function that returns what follows a prompt, up to an end token or `Sampling.tokens_max`."""


class HuggingFaceTeacher:
    """A `transformers` teacher, split into trunk and head so that logits are computed in parts."""

    def __init__(self, model: Any, folder: Path) -> None:
        """Check that trunk and head give the model's logits.

        Raises:
            ConfigError: They do not, since the model changes its logits afterwards.
        """
        self._model = model
        self._trunk = model.get_decoder()
        self._head = model.get_output_embeddings()
        model.requires_grad_(False)
        probe = torch.arange(4).unsqueeze(0) % model.config.vocab_size
        with torch.no_grad():
            whole, split = model(input_ids=probe).logits, self.logits(self.hidden(probe))
        if not torch.allclose(whole, split, atol=1e-3, rtol=1e-3):
            raise ConfigError(
                f"{folder}: the model changes its logits after the head; let it write text instead"
            )

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self._model.to(device)

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return final hidden states, shape (B, T, C)."""
        return cast(Tensor, self._trunk(input_ids=tokens_BT).last_hidden_state)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits, shape (..., V)."""
        return cast(Tensor, self._head(hidden))


def kernel_writer(decoder: Decoder, coordizer: Coordizer) -> Writer:
    """Return the writer of a kernel of this project.

    It raises InvalidPrompt for a prompt that is longer than the kernel's context.
    """
    decoder = decoder.eval()

    def write(prompt: str, sampling: Sampling) -> str:
        ids = [coordizer.end_id, *coordizer.encode(prompt).tolist()]
        return coordizer.decode_text(list(generate(decoder, ids, sampling, coordizer.end_id)))

    return write


def hugging_face_writer(model: Any, tokenizer: Any) -> Writer:
    """Return the writer of a `transformers` model with its own tokenizer.

    It raises InvalidPrompt for a prompt of which the tokenizer makes no token.
    """

    def write(prompt: str, sampling: Sampling) -> str:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        if ids.shape[1] == 0:
            raise InvalidPrompt(length=0, limit=2**31 - 1)
        torch.manual_seed(0 if sampling.seed is None else sampling.seed)
        warm = sampling.temperature > 0
        chosen = {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0} if warm else {}
        with torch.inference_mode():
            whole = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.tokens_max,
                do_sample=warm,
                pad_token_id=model.generation_config.eos_token_id or 0,
                **chosen,
            )
        return cast(str, tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True))

    return write


def load_teacher(folder: Path, coordizer: Coordizer) -> Teacher:
    """Load a teacher of soft targets over the coordizer's tokens.

    Raises:
        ArtifactError: The folder holds no model.
        ConfigError: The teacher uses other tokens; let it write text instead.
    """
    if _is_kernel(folder):
        kernel = open_kernel(folder)
        if kernel.tokenizer_hash != coordizer.tokenizer_hash:
            raise ConfigError(_other_tokens(folder))
        return kernel.decoder.eval().requires_grad_(False)
    _check_same_tokens(folder, coordizer)
    model = hugging_face.load_model(folder)
    if model.get_output_embeddings().weight.shape[0] != coordizer.vocab_size:
        raise ConfigError(_other_tokens(folder))
    return HuggingFaceTeacher(model, folder)


def load_writer(folder: Path, coordizer: Coordizer | None = None) -> Writer:
    """Load a model that writes text.

    The folder is that of a kernel with this coordizer, or of a `transformers` model with its own
    tokenizer.

    Raises:
        ArtifactError: The folder holds no model, or a kernel of another coordizer.
        ConfigError: A kernel is given without its coordizer.
    """
    if not _is_kernel(folder):
        model = hugging_face.load_model(folder)
        return hugging_face_writer(model, hugging_face.load_tokenizer(folder))
    if coordizer is None:
        raise ConfigError(f"{folder} is a kernel; give the coordizer that it was trained with")
    kernel = open_kernel(folder)
    if kernel.tokenizer_hash != coordizer.tokenizer_hash:
        raise ArtifactError(folder, "the kernel uses the tokens of another coordizer; give its own")
    return kernel_writer(kernel.decoder, coordizer)


def folder_state(folder: Path | str) -> list[list[object]]:
    """Return name, size and time of another model's files, which decide whether a run is stale.

    Raises:
        ConfigError: There is no such folder.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f"{folder} is no folder; give that of a kernel or model")
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def write_texts(writer: Writer, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """Return every prompt with the teacher's continuation, as training text of a student.

    Every prompt has a seed of its own, counted up from `sampling.seed` (0 when it is None), so
    that the same call gives the same texts.
    """
    first = sampling.seed or 0
    return [
        prompt + writer(prompt, _with_seed(sampling, first + number))
        for number, prompt in enumerate(prompts)
    ]


def _with_seed(sampling: Sampling, seed: int) -> Sampling:
    return Sampling(tokens_max=sampling.tokens_max, temperature=sampling.temperature, seed=seed)


def _is_kernel(folder: Path) -> bool:
    return any((folder / name).exists() for name in (KERNEL_FILE, ADAPTER_FILE))


def _check_same_tokens(folder: Path, coordizer: Coordizer) -> None:
    theirs, ours = hugging_face.read_tokenizer(folder), coordizer.tokenizer()
    same = theirs.get_vocab() == ours.get_vocab()
    if not same or theirs.encode(_PROBE).ids != ours.encode(_PROBE).ids:
        raise ConfigError(_other_tokens(folder))


def _other_tokens(folder: Path) -> str:
    return (
        f"{folder} uses other tokens than the coordizer, so its soft targets cannot be used; "
        "let it write text instead: constellation data generate"
    )
