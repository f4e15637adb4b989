"""Write and read the folder of a coordizer (a tokenizer plus one simplex point per token).

    |-- vocab.json         token string -> id
    |-- merge_rules.json   criterion, merges in rank order, whole strings
    |-- basin_coords.npy   p(z | token), float32, shape (V, K)
    |-- counts.npy         soft counts the coordinates come from, float64, shape (V, K)
    |-- tokenizer.json     the same tokenizer for `tokenizers` and `transformers`
    `-- meta.json          everything else, with the sha256 of the files above

A folder is written under a temporary name and renamed, so a reader finds the old folder or the new
one, never a part. Reading checks every file's sha256 and shape. This file must not import torch.

Shapes: V tokens of the vocabulary, K outcomes.
"""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.vocabulary import Vocabulary, from_json
from constellation.errors import ArtifactError, ConfigError, InvalidBasin
from constellation.geometry.simplex import FISHER_RAO_RADIUS, check_simplex
from constellation.records import FloatArray

FORMAT = "constellation-coordizer"
VERSION = 1

VOCAB = "vocab.json"
MERGE_RULES = "merge_rules.json"
COORDINATES = "basin_coords.npy"
COUNTS = "counts.npy"
TOKENIZER = "tokenizer.json"
META = "meta.json"
FILES = (VOCAB, MERGE_RULES, COORDINATES, COUNTS, TOKENIZER)
"""Files whose sha256 `meta.json` holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Origin of a coordizer: its corpus, seed, training times and measured statistics."""

    corpus_bytes: int = 0
    """UTF-8 bytes of the training documents."""
    corpus_sha256: str = ""
    """sha256 (hex) of the training documents and labels, in order."""
    num_documents: int = 0
    seed: int = 0
    """Seed of the coordinates' fit."""
    seconds_merges: float = 0.0
    seconds_coordinates: float = 0.0
    statistics: Mapping[str, float] = field(default_factory=dict)
    """Figures of `constellation.coordizer.statistics`, by name; empty when not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordizerParts:
    """All data of a coordizer; after loading, the large arrays are memory-mapped from files."""

    vocabulary: Vocabulary
    conditional_VK: NDArray[np.float32]
    """p(z | token), rows on the simplex."""
    background_K: FloatArray
    """Corpus background pi."""
    counts_VK: FloatArray
    """Soft count of token v in outcome z; after loading, read from the mapped file on first
    access."""
    blocks: Mapping[str, tuple[int, ...]]
    """Domain -> indices of its outcomes; empty for coordinates that were fitted without domains."""
    smoothing: float
    """Smoothing constant of the fit, as in `Coordinates.smoothing`."""
    provenance: Provenance


def write_parts(folder: Path, parts: CoordizerParts) -> None:
    """Store a coordizer as `folder`; an old folder is replaced only after all files are written."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_files(fresh, parts)
        fresh.chmod(0o755)  # mkdtemp makes the folder readable by its owner only
        _replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_files(folder: Path, parts: CoordizerParts) -> None:
    contents = {
        VOCAB: parts.vocabulary.vocab_json(),
        MERGE_RULES: parts.vocabulary.merge_rules_json(),
        COORDINATES: _npy_bytes(parts.conditional_VK),
        COUNTS: _npy_bytes(parts.counts_VK),
        TOKENIZER: parts.vocabulary.build().to_str().encode(),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "fisher_rao_radius": FISHER_RAO_RADIUS,
        "vocab_size": len(parts.vocabulary.tokens),
        "num_outcomes": int(parts.background_K.size),
        "criterion": parts.vocabulary.criterion,
        "fit": "anchored" if parts.blocks else "free",
        "blocks": {name: list(block) for name, block in parts.blocks.items()},
        "smoothing": parts.smoothing,
        "background": parts.background_K.tolist(),
        "provenance": asdict(parts.provenance),
        "files": digests,
    }
    (folder / META).write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _replace_folder(fresh: Path, folder: Path) -> None:
    """Rename `fresh` to `folder`; an old folder is deleted only after the rename succeeded."""
    if not folder.exists():
        fresh.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old)  # a rename may replace an empty folder
    fresh.rename(folder)
    shutil.rmtree(old)


def read_parts(folder: Path) -> CoordizerParts:
    """Read a coordizer's folder and check every file.

    Raises:
        ArtifactError: Names the file and what is wrong: missing, changed since it was written, of
            another format, version or radius, of a shape that does not fit, or not on the simplex.
    """
    folder = Path(folder)
    meta = _read_meta(folder / META)
    files = _read_checked(folder, meta["files"])
    vocabulary = _read_vocabulary(folder, files)
    shape = (len(vocabulary.tokens), len(meta["background"]))
    if shape != (meta["vocab_size"], meta["num_outcomes"]):
        raise ArtifactError(
            folder / META,
            f"vocab_size and num_outcomes are {meta['vocab_size']} and {meta['num_outcomes']}, "
            f"the files hold {shape[0]} and {shape[1]}",
        )
    background_K = np.array(meta["background"], dtype=np.float64)
    _check_points(folder / META, background_K[None])
    conditional_VK = _map_array(folder / COORDINATES)
    _check_array(folder / COORDINATES, conditional_VK, shape, np.float32)
    _check_points(folder / COORDINATES, conditional_VK)
    counts_VK = _map_array(folder / COUNTS)
    _check_array(folder / COUNTS, counts_VK, shape, np.float64)
    if not (np.isfinite(counts_VK) & (counts_VK >= 0)).all():
        raise ArtifactError(folder / COUNTS, "counts must be finite and >= 0")
    return CoordizerParts(
        vocabulary=vocabulary,
        conditional_VK=conditional_VK,
        background_K=background_K,
        counts_VK=counts_VK,
        blocks={name: tuple(block) for name, block in meta["blocks"].items()},
        smoothing=float(meta["smoothing"]),
        provenance=Provenance(**meta["provenance"]),
    )


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read and check only the vocabulary (tokens and merges): a kernel needs no more to write text.

    Raises:
        ArtifactError: A file of the vocabulary is missing, changed or damaged.
    """
    folder = Path(folder)
    digests = _read_meta(folder / META)["files"]
    return _read_vocabulary(folder, _read_checked(folder, digests, (VOCAB, MERGE_RULES)))


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(path, "is missing; train a coordizer first") from error
    except ValueError as error:
        raise ArtifactError(path, f"is not JSON ({error})") from error
    expected = {"format": FORMAT, "version": VERSION, "fisher_rao_radius": FISHER_RAO_RADIUS}
    for key, value in expected.items():
        found = meta.get(key) if isinstance(meta, dict) else None
        if found != value:
            raise ArtifactError(path, f"{key} is {found!r}; this version reads {value!r}")
    needed = {"files", "background", "vocab_size", "num_outcomes", "blocks", "smoothing"}
    if missing := sorted((needed | {"provenance"}) - meta.keys()):
        raise ArtifactError(path, f"lacks {', '.join(missing)}")
    return dict(meta)


def _read_checked(
    folder: Path, digests: Mapping[str, str], names: tuple[str, ...] = FILES
) -> dict[str, bytes]:
    """Check the named files against their sha256 in `meta.json`; return contents of JSON files."""
    contents = {}
    for name in names:
        path = folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(path, "is missing") from error
        if hashlib.sha256(data).hexdigest() != digests.get(name):
            raise ArtifactError(path, f"does not have the sha256 that {META} gives")
        if name in (VOCAB, MERGE_RULES):
            contents[name] = data
    return contents


def _read_vocabulary(folder: Path, files: Mapping[str, bytes]) -> Vocabulary:
    try:
        return from_json(files[VOCAB], files[MERGE_RULES])
    except ConfigError as error:
        raise ArtifactError(folder / VOCAB, str(error)) from error


def _map_array(path: Path) -> NDArray[Any]:
    """Memory-map an array from its file, so that the processes of one machine share its memory."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except ValueError as error:
        raise ArtifactError(path, f"is not an array ({error})") from error
    return array


def _check_array(path: Path, array: NDArray[Any], shape: tuple[int, int], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ArtifactError(
            path,
            f"holds {array.dtype} of shape {array.shape}; need {np.dtype(dtype)} of {shape}",
        )


def _check_points(path: Path, points: NDArray[Any]) -> None:
    try:
        check_simplex(points)
    except InvalidBasin as error:
        raise ArtifactError(path, str(error)) from error
