"""The engines of one process: kernels are stacked with others like them, or stand beside.

Whole kernels stack with those of their architecture, adapters with those over the same base.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from actors.kernel.engine import KernelEngine, token_bytes_of
from actors.kernel.engine_interface import PlacedEngine
from actors.kernel.symbol_engine import SymbolEngine
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
from constellation.kernel.files.peft_folder import check_peft, is_peft
from constellation.kernel.files.prompt_format import PromptFormat, read_prompt_format
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import has_symbols
from constellation.kernel.files.transformers_folder import check_model, is_imported
from constellation.kernel.network.devices import ServingDevice, open_device
from constellation.kernel.writing.fast_products import Weights
from constellation.kernel.writing.kernel_stack import KernelStack, can_stack
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.recorded_steps import record_cuda
from constellation.kernel.writing.stacked_batch import Stack, StackedBatch
from constellation.runtime.capacity import CONTEXT_BYTES

if TYPE_CHECKING:
    from actors.kernel.adapted_model_engine import SharedModel
    from constellation.kernel.hugging_face.peft_adapter import PeftAdapter

KernelT = TypeVar("KernelT", bound=LoadedKernel)


@dataclass(frozen=True, slots=True)
class ReadKernel:
    """A kernel whose files were read, of whatever kind."""

    place: Callable[[], PlacedEngine]
    """Makes its engine; once others answer, only their thread may do that."""


class Engines:
    """Makes the engines of a process.

    A process with room for one kernel maps its weights, which processes of one machine share. One
    with room for several copies them into stacks, in float32; kernels that cannot be stacked, and
    all in other precisions, are mapped and stepped one after the other. Adapters are stacked over
    their base in any precision; it is mapped once, and is one of them when it is a kernel of the
    process too and comes after the first of them. Models of `transformers` are each process's own,
    once for all adapters over them; the library is imported with the first of them.

    On a GPU weights are the process's own. There they are stacked in any precision, no product is
    replaced, the memory of keys and values is planned (`slots` texts of every kernel), and steps
    are recorded as CUDA graphs.

    Args:
        spec: The deployment.
        coordizer: Folder of the coordizer whose tokens the kernels speak.
        where: The device; None opens the one that the deployment names.

    Raises:
        ArtifactError: The vocabulary is damaged.
        ConfigError: There is no such device.
    """

    def __init__(
        self, spec: DeploymentSpec, coordizer: Path, *, where: ServingDevice | None = None
    ) -> None:
        torch.set_num_threads(spec.kernel.num_threads)
        if where is None:
            where = open_device(
                spec.kernel.device,
                per_gpu=spec.kernel.per_gpu,
                weights=spec.kernel.weights,
                context_bytes=CONTEXT_BYTES,
            )
        self.where = where
        self._record = record_cuda if where.device.type == "cuda" else None
        self._products: Weights = spec.kernel.weights if where.is_cpu else "float32"
        self._spec = spec
        self._options = spec.kernel
        self._coordizer_folder = coordizer
        self._vocabulary = read_vocabulary(coordizer)
        self._vocabulary_hash = self._vocabulary.sha256()
        self._bases: dict[str, LoadedKernel] = {}
        self._models: dict[str, SharedModel] = {}
        self._stacks: list[StackedBatch] = []

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values of stacked kernels."""
        return sum(batch.cache_bytes for batch in self._stacks)

    def check_room(self, folders: Sequence[Path], *, cache_bytes: int = 0) -> None:
        """Refuse kernels whose weights do not fit on the device beside what is there.

        Args:
            folders: Of the kernels, at least one; those of shared bases are not counted.
            cache_bytes: Memory that they need for keys and values.

        Raises:
            NotEnoughMemory: They do not fit.
        """
        if self.where.limit_bytes is None:
            return
        stored = sum(
            path.stat().st_size for folder in folders for path in folder.glob("*.safetensors")
        )
        shrunk = 2 if self.where.dtype is torch.bfloat16 else 1
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        self.where.check_room(folders[0].name + more, stored // shrunk + cache_bytes)

    def read(self, folder: Path) -> ReadKernel:
        """Read a kernel's files; any thread may do that.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary; or the library that reads
                it is not installed.
            NotEnoughMemory: The weights do not fit on the device.
        """
        self.check_room([folder])
        if is_imported(folder):
            return self._read_foreign(folder)
        if is_peft(folder):
            return self._read_peft(folder)
        if has_symbols(folder):
            return self._read_symbols(folder)
        if is_adapter(folder):
            adapted = self._speaking(folder, self._read_adapter(folder))
            form = read_prompt_format(folder)
            return ReadKernel(lambda: self._place(adapted, adapted.base, form))
        loaded = self._speaking(folder, self._read_whole(folder))
        written = read_prompt_format(folder)
        return ReadKernel(lambda: self._place(loaded, None, written))

    def _speaking(self, folder: Path, loaded: KernelT) -> KernelT:
        """Return a kernel that speaks the coordizer's tokens, or refuse it."""
        if loaded.tokenizer_hash != self._vocabulary_hash:
            raise ArtifactError(
                folder, f"was trained with another vocabulary than {self._coordizer_folder}"
            )
        return loaded

    def _read_whole(self, folder: Path) -> LoadedKernel:
        loaded = self._load(folder, is_shared=not self._stacks_whole)
        base = self._bases.get(loaded.weights_hash)
        if base is not None and self._stacks_over(base):
            return replace(loaded, decoder=base.decoder)
        if self._stacks_whole and not can_stack(loaded.decoder):
            return self._load(folder, is_shared=True)
        return loaded

    def _load(self, folder: Path, *, is_shared: bool) -> LoadedKernel:
        shared = self._spec.node_folder.weights_dir if is_shared else None
        return load_kernel(folder, shared=shared, dtype=self.where.dtype, device=self.where.device)

    def _read_adapter(self, folder: Path) -> AdaptedKernel:
        """Read an adapter, and its base unless another adapter's is the same."""
        wanted = read_adapter(folder).base_hash
        base = self._bases.get(wanted)
        if base is None:
            base = load_base(
                folder,
                shared=self._spec.node_folder.weights_dir,
                dtype=self.where.dtype,
                device=self.where.device,
            )
            base = self._bases.setdefault(base.weights_hash, base)  # another thread may have
        return load_adapted(folder, base=base)

    def _place(
        self,
        loaded: LoadedKernel,
        base: LoadedKernel | None,
        prompt_format: PromptFormat | None,
    ) -> KernelEngine:
        options = self._options
        return KernelEngine(
            loaded,
            self._vocabulary,
            prefill_tokens=options.prefill_tokens,
            prefix_bytes=self._prefix_bytes,
            weights=self._products,
            compiled=options.compile,
            stacked=self._stack_for(loaded, base),
            prompt_format=prompt_format,
            planned_rows=self._planned_rows,
            record=self._record,
        )

    def _read_symbols(self, folder: Path) -> ReadKernel:
        loaded = load_symbol_kernel(
            folder,
            shared=self._spec.node_folder.weights_dir,
            dtype=self.where.dtype,
            device=self.where.device,
        )
        options, prompt_format = self._options, read_prompt_format(folder)
        return ReadKernel(
            lambda: SymbolEngine(
                loaded,
                token_bytes_of(self._vocabulary),
                prefill_tokens=options.prefill_tokens,
                prefix_bytes=self._prefix_bytes,
                weights=self._products,
                prompt_format=prompt_format,
                planned_rows=self._planned_rows,
                record=self._record,
            )
        )

    def _read_foreign(self, folder: Path) -> ReadKernel:
        # Imported here: what it needs is optional.
        from actors.kernel.hugging_face_engine import HuggingFaceEngine
        from constellation.kernel.hugging_face.transformers_model import load_imported

        prompt_format = read_prompt_format(folder)
        if self._models:  # the base of adapters may be a kernel too
            files = check_model(folder)
            shared = self._models.get(files.weights_hash)
            if shared is not None:
                hashes = (files.tokenizer_hash, files.weights_hash)
                return self._over(folder.name, shared, None, hashes, prompt_format)
        with _library_needed(folder):
            loaded, files = load_imported(folder, weights=self._options.weights, where=self.where)
        return ReadKernel(
            lambda: HuggingFaceEngine(
                loaded,
                files,
                token_bytes_of(self._vocabulary),
                prefill_tokens=self._options.prefill_tokens,
                prefix_bytes=self._prefix_bytes,
                prompt_format=prompt_format,
                planned_rows=self._planned_rows,
            )
        )

    def _read_peft(self, folder: Path) -> ReadKernel:
        # Imported here: what it needs is optional.
        from constellation.kernel.hugging_face.peft_adapter import read_peft

        files = check_peft(folder)
        with _library_needed(folder):
            shared = self._shared_model(files.base_hash, files.base_folder)
        adapter = read_peft(folder)
        prompt_format = read_prompt_format(folder) or read_prompt_format(files.base_folder)
        hashes = (files.tokenizer_hash, files.weights_hash)
        return self._over(folder.name, shared, adapter, hashes, prompt_format)

    def _shared_model(self, base_hash: str, folder: Path) -> "SharedModel":
        """Return a base that adapters share, read unless another adapter's is the same."""
        from actors.kernel.adapted_model_engine import SharedModel
        from constellation.kernel.hugging_face.transformers_model import open_model

        if base_hash not in self._models:
            made = SharedModel.of(
                open_model(folder, weights=self._options.weights, where=self.where),
                prefill_tokens=self._options.prefill_tokens,
                prefix_bytes=self._prefix_bytes,
                planned_rows=self._planned_at_first,
            )
            self._models.setdefault(base_hash, made)  # another thread may have
        return self._models[base_hash]

    def _over(
        self,
        name: str,
        shared: "SharedModel",
        adapter: "PeftAdapter | None",
        hashes: tuple[str, str],
        prompt_format: PromptFormat | None,
    ) -> ReadKernel:
        """Return a kernel over a shared base; `hashes` are of its vocabulary and its weights."""
        from actors.kernel.adapted_model_engine import AdaptedModelEngine

        def place() -> PlacedEngine:
            shared.batch.plan_rows(self._options.slots)
            with _library_needed(Path(name)):
                return AdaptedModelEngine(
                    name,
                    shared,
                    adapter,
                    tokenizer_hash=hashes[0],
                    weights_hash=hashes[1],
                    token_bytes=token_bytes_of(self._vocabulary),
                    prompt_format=prompt_format,
                )

        return ReadKernel(place)

    @property
    def _prefix_bytes(self) -> int:
        return self._options.prefix_mib * 2**20

    @property
    def _stacks_whole(self) -> bool:
        return self._options.per_actor > 1 and self._products == "float32"

    def _stacks_over(self, base: LoadedKernel) -> bool:
        return self._options.per_actor > 1 and can_stack_adapters(base.decoder)

    @property
    def _planned_rows(self) -> int | None:
        """Texts of one kernel whose keys and values get their memory at once; None on a CPU."""
        return None if self.where.is_cpu else self._options.slots

    @property
    def _planned_at_first(self) -> int | None:
        """Texts of a stack before its first kernel; None on a CPU."""
        return None if self.where.is_cpu else 0

    def _stack_for(self, loaded: LoadedKernel, base: LoadedKernel | None) -> StackedBatch | None:
        batch = self._fitting(loaded)
        if batch is None:
            batch = self._new_batch(loaded, base)
        if batch is not None:
            batch.plan_rows(self._options.slots)
        return batch

    def _fitting(self, loaded: LoadedKernel) -> StackedBatch | None:
        return next((batch for batch in self._stacks if batch.stack.fits(loaded.decoder)), None)

    def _new_batch(self, loaded: LoadedKernel, base: LoadedKernel | None) -> StackedBatch | None:
        stack = self._new_stack(loaded, base)
        if stack is None:
            return None
        batch = StackedBatch(
            stack,
            end_id=END_ID,
            prefill_tokens=self._options.prefill_tokens,
            prefixes=PrefixStore(self._prefix_bytes) if self._prefix_bytes else None,
            planned_rows=self._planned_at_first,
            record=self._record,
        )
        # Adapters' come first: a base that is a kernel too belongs with them.
        self._stacks.insert(len(self._stacks) if base is None else 0, batch)
        return batch

    def _new_stack(self, loaded: LoadedKernel, base: LoadedKernel | None) -> Stack | None:
        if base is not None:
            if not self._stacks_over(base):
                return None
            return AdapterStack(base.decoder, weights=self._products)
        can = self._stacks_whole and can_stack(loaded.decoder)
        return KernelStack(loaded.decoder) if can else None


@contextmanager
def _library_needed(folder: Path) -> Iterator[None]:
    """Say of a kernel that it cannot be read here: the library is missing, or does not fit it."""
    try:
        yield
    except ConfigError as error:
        raise ArtifactError(folder, str(error)) from error
