"""The engines of one process: kernels of the same architecture are stacked, others stand beside."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from actors.kernel.engine import KernelEngine, token_bytes_of
from actors.spec import DeploymentSpec
from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.hugging_face.files import ModelFiles, is_imported
from constellation.kernel.prefixes import PrefixStore
from constellation.kernel.products import Weights
from constellation.kernel.stack import KernelStack, can_stack
from constellation.kernel.stacked_batch import StackedBatch

if TYPE_CHECKING:
    from actors.kernel.hugging_face import HuggingFaceEngine
    from constellation.kernel.hugging_face.loading import LoadedModel

    AnyEngine = KernelEngine | HuggingFaceEngine
    ForeignFiles = tuple[LoadedModel, ModelFiles]


class Engines:
    """Makes the engines of a process.

    A process with room for one kernel maps its weights, which processes of one machine share. One
    with room for several copies them into stacks, in float32; kernels that cannot be stacked, and
    all in other precisions, are mapped and stepped one after the other. Models of `transformers`
    are each process's own; the library is imported with the first of them.

    Args:
        spec: Of the deployment.

    Raises:
        ArtifactError: The vocabulary is damaged.
    """

    def __init__(self, spec: DeploymentSpec) -> None:
        torch.set_num_threads(spec.kernel.num_threads)
        self._spec = spec
        self._options = spec.kernel
        self._vocabulary = read_vocabulary(spec.artifacts / "coordizer")
        self._vocabulary_hash = self._vocabulary.sha256()
        self._stacks: list[StackedBatch] = []

    def read(self, kernel: str) -> "LoadedKernel | ForeignFiles":
        """Read a kernel's files; any thread may do that.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary; or the library that reads
                it is not installed.
        """
        folder = self._spec.artifacts / "kernels" / kernel
        if is_imported(folder):
            return _read_foreign(folder, self._options.weights)
        return self._read_own(folder)

    def _read_own(self, folder: Path) -> LoadedKernel:
        loaded = load_kernel(folder) if self._stacks_kernels else None
        if loaded is None or not can_stack(loaded.decoder):
            loaded = load_kernel(folder, shared=self._spec.weights_dir)
        if loaded.tokenizer_hash != self._vocabulary_hash:
            coordizer = self._spec.artifacts / "coordizer"
            raise ArtifactError(folder, f"was trained with another vocabulary than {coordizer}")
        return loaded

    def place(self, loaded: "LoadedKernel | ForeignFiles") -> "AnyEngine":
        """Make a kernel's engine; once others answer, only their thread may do that."""
        if not isinstance(loaded, LoadedKernel):
            return self._place_foreign(*loaded)
        options = self._options
        return KernelEngine(
            loaded,
            self._vocabulary,
            prefill_tokens=options.prefill_tokens,
            prefix_bytes=options.prefix_mib * 2**20,
            weights=options.weights,
            compiled=options.compile,
            stacked=self._stack_for(loaded),
        )

    def _place_foreign(self, loaded: "LoadedModel", files: ModelFiles) -> "HuggingFaceEngine":
        from actors.kernel.hugging_face import HuggingFaceEngine

        return HuggingFaceEngine(
            loaded,
            files,
            token_bytes_of(self._vocabulary),
            prefill_tokens=self._options.prefill_tokens,
            prefix_bytes=self._options.prefix_mib * 2**20,
        )

    @property
    def _stacks_kernels(self) -> bool:
        return self._options.per_actor > 1 and self._options.weights == "float32"

    def _stack_for(self, loaded: LoadedKernel) -> StackedBatch | None:
        if not self._stacks_kernels or not can_stack(loaded.decoder):
            return None
        for batch in self._stacks:
            if batch.stack.fits(loaded.decoder):
                return batch
        prefix_bytes = self._options.prefix_mib * 2**20
        batch = StackedBatch(
            KernelStack(loaded.decoder),
            end_id=END_ID,
            prefill_tokens=self._options.prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
        )
        self._stacks.append(batch)
        return batch


def _read_foreign(folder: Path, weights: Weights) -> "ForeignFiles":
    from constellation.kernel.hugging_face.loading import load_imported

    try:
        return load_imported(folder, weights=weights)
    except ConfigError as error:  # the library is missing: this kernel cannot be read here
        raise ArtifactError(folder, str(error)) from error
