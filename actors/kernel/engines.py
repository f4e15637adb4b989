"""The engines of one process: kernels are stacked with others like them, or stand beside.

Whole kernels stack with those of their architecture, adapters with those over the same base.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from actors.kernel.engine import KernelEngine, token_bytes_of
from actors.spec import DeploymentSpec
from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.adapter_file import (
    AdaptedKernel,
    is_adapter,
    load_adapted,
    load_base,
    read_adapter,
)
from constellation.kernel.adapters.adapter_stack import AdapterStack, can_stack_adapters
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.files.transformers_folder import ModelFiles, is_imported
from constellation.kernel.writing.fast_products import Weights
from constellation.kernel.writing.kernel_stack import KernelStack, can_stack
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.stacked_batch import Stack, StackedBatch

if TYPE_CHECKING:
    from actors.kernel.hugging_face_engine import HuggingFaceEngine
    from constellation.kernel.hugging_face.transformers_model import LoadedModel

    AnyEngine = KernelEngine | HuggingFaceEngine
    ForeignFiles = tuple[LoadedModel, ModelFiles]


class Engines:
    """Makes the engines of a process.

    A process with room for one kernel maps its weights, which processes of one machine share. One
    with room for several copies them into stacks, in float32; kernels that cannot be stacked, and
    all in other precisions, are mapped and stepped one after the other. Adapters are stacked over
    their base in any precision; it is mapped once, and is one of them when it is a kernel of the
    process too and comes after the first of them. Models of `transformers` are each process's own;
    the library is imported with the first of them.

    Args:
        spec: Of the deployment.
        coordizer: Folder of the coordizer whose tokens the kernels speak.

    Raises:
        ArtifactError: The vocabulary is damaged.
    """

    def __init__(self, spec: DeploymentSpec, coordizer: Path) -> None:
        torch.set_num_threads(spec.kernel.num_threads)
        self._spec = spec
        self._options = spec.kernel
        self._coordizer_folder = coordizer
        self._vocabulary = read_vocabulary(coordizer)
        self._vocabulary_hash = self._vocabulary.sha256()
        self._bases: dict[str, LoadedKernel] = {}
        self._stacks: list[StackedBatch] = []

    def read(self, folder: Path) -> "LoadedKernel | ForeignFiles":
        """Read a kernel's files; any thread may do that.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary; or the library that reads
                it is not installed.
        """
        if is_imported(folder):
            return _read_foreign(folder, self._options.weights)
        return self._read_own(folder)

    def _read_own(self, folder: Path) -> LoadedKernel:
        loaded = self._read_adapter(folder) if is_adapter(folder) else self._read_whole(folder)
        if loaded.tokenizer_hash != self._vocabulary_hash:
            raise ArtifactError(
                folder, f"was trained with another vocabulary than {self._coordizer_folder}"
            )
        return loaded

    def _read_whole(self, folder: Path) -> LoadedKernel:
        shared = self._spec.node_folder.weights_dir
        loaded = load_kernel(folder, shared=None if self._stacks_whole else shared)
        base = self._bases.get(loaded.weights_hash)
        if base is not None and self._stacks_over(base):
            return replace(loaded, decoder=base.decoder)
        if self._stacks_whole and not can_stack(loaded.decoder):
            return load_kernel(folder, shared=shared)
        return loaded

    def _read_adapter(self, folder: Path) -> AdaptedKernel:
        """Read an adapter, and its base unless another adapter's is the same."""
        wanted = read_adapter(folder).base_hash
        base = self._bases.get(wanted)
        if base is None:
            base = load_base(folder, shared=self._spec.node_folder.weights_dir)
            base = self._bases.setdefault(base.weights_hash, base)  # another thread may have
        return load_adapted(folder, base=base)

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
        from actors.kernel.hugging_face_engine import HuggingFaceEngine

        return HuggingFaceEngine(
            loaded,
            files,
            token_bytes_of(self._vocabulary),
            prefill_tokens=self._options.prefill_tokens,
            prefix_bytes=self._options.prefix_mib * 2**20,
        )

    @property
    def _stacks_whole(self) -> bool:
        return self._options.per_actor > 1 and self._options.weights == "float32"

    def _stacks_over(self, base: LoadedKernel) -> bool:
        return self._options.per_actor > 1 and can_stack_adapters(base.decoder)

    def _stack_for(self, loaded: LoadedKernel) -> StackedBatch | None:
        for batch in self._stacks:
            if batch.stack.fits(loaded.decoder):
                return batch
        stack = self._new_stack(loaded)
        if stack is None:
            return None
        prefix_bytes = self._options.prefix_mib * 2**20
        batch = StackedBatch(
            stack,
            end_id=END_ID,
            prefill_tokens=self._options.prefill_tokens,
            prefixes=PrefixStore(prefix_bytes) if prefix_bytes else None,
        )
        # Adapters' come first: a base that is a kernel too belongs with them.
        self._stacks.insert(0 if isinstance(stack, AdapterStack) else len(self._stacks), batch)
        return batch

    def _new_stack(self, loaded: LoadedKernel) -> Stack | None:
        if isinstance(loaded, AdaptedKernel):
            weights = self._options.weights
            base = loaded.base
            return AdapterStack(base.decoder, weights=weights) if self._stacks_over(base) else None
        can = self._stacks_whole and can_stack(loaded.decoder)
        return KernelStack(loaded.decoder) if can else None


def _read_foreign(folder: Path, weights: Weights) -> "ForeignFiles":
    from constellation.kernel.hugging_face.transformers_model import load_imported

    try:
        return load_imported(folder, weights=weights)
    except ConfigError as error:  # the library is missing: this kernel cannot be read here
        raise ArtifactError(folder, str(error)) from error
