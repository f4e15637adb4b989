"""Memory and processor time of preparing text: corpus, coordizer and token files.

Usage: python -m benchmarks.corpus_scale [--megabytes 40 160] [--repeats 1] [--folder DIR]
[--packed] [--no-compare]

Makes text of each size from what this machine has (`scale_text`), and prepares it as `constellation
train` does, in a process of its own. The files of the smallest size are compared, to the bit, with
what the functions give that keep all text in memory. Prints a line per size with medians, and one
JSON object as the last line, of the largest size: `peak_mb` (peak memory of any of the processes,
low is good), `cpu_s_per_mb` (processor seconds of all processes for 10^6 bytes of text, low is
good), `exponent` (of processor time without the start of the processes, `start_cpu_s`, from the
smallest to the largest size; 1 is linear), `equal`.
"""

import argparse
import json
import math
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.scale_text import make_text
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import read_corpus
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import prepare
from training.batches import join_documents
from training.recipe import CoordizerSection
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import SEED
from training.text_preparation import APART_BYTES_MIN, make_corpus, make_text_files

VOCAB_SIZE = 32_000
SECTION = CoordizerSection(vocab_size=VOCAB_SIZE)
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def prepare_text(text: Path, out: Path) -> dict[str, float]:
    """Prepare text in this process and the processes it starts; return what it took."""
    started_s, imported_s = time.perf_counter(), processor_s()
    make_corpus(CorpusSection(paths=(text,)), out / "corpus", seed=0)
    corpus_s = processor_s()
    make_text_files(SECTION, out / "corpus", out / "coordizer", out / "tokens", 0)
    # Large text is prepared in two further processes, which import the same packages.
    num_processes = 3 if (out / "corpus" / "train.jsonl").stat().st_size > APART_BYTES_MIN else 1
    return {
        "start_cpu_s": num_processes * imported_s,
        "corpus_cpu_s": corpus_s,
        "cpu_s": processor_s(),
        "seconds": time.perf_counter() - started_s,
        "peak_mb": max(resource.getrusage(who).ru_maxrss for who in WHO) / 1024,
    }


def processor_s() -> float:
    """Return the processor seconds of this process and of its processes that have ended."""
    used = [resource.getrusage(who) for who in WHO]
    return sum(each.ru_utime + each.ru_stime for each in used)


def is_equal(text: Path, out: Path) -> bool:
    """Return whether the files are those of the functions that keep all text in memory."""
    stored, corpus = load_prepared(out / "corpus"), prepare(read_corpus(text))
    if stored != corpus:
        return False
    texts = [document.text for document in corpus.train]
    labels = [document.domain for document in corpus.train]
    trained = train_coordizer(texts, labels, vocab_size=VOCAB_SIZE, anchored=True)
    if Coordizer.load(out / "coordizer").hash != trained.hash:
        return False
    stream_N = join_documents(trained.encode_batch(texts), trained.end_id)
    return np.array_equal(np.load(out / "tokens" / f"{SEED}.train.npy"), stream_N)


def measure(
    folder: Path, megabytes: float, *, repeats: int, packed: bool, compare: bool
) -> dict[str, float | bool]:
    """Make text of a size, and prepare it; return medians."""
    text, out = folder / "text", folder / "out"
    num_bytes = make_text(text, int(megabytes * 10**6), packed=packed)
    found = []
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        command = [sys.executable, "-m", "benchmarks.corpus_scale", "--one", str(text), str(out)]
        done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, float | bool] = {
        name: round(statistics.median(each[name] for each in found), 2) for name in found[0]
    }
    result["mb"] = round(num_bytes / 10**6, 1)
    result["cpu_s_per_mb"] = round(float(result["cpu_s"]) * 10**6 / num_bytes, 4)
    if compare:
        result["equal"] = is_equal(text, out)
    print(json.dumps(result), flush=True)
    shutil.rmtree(text)
    shutil.rmtree(out)
    return result


def exponent(first: dict[str, float | bool], last: dict[str, float | bool]) -> float:
    """Return by which power of the size the processor time grows."""
    took = [each["cpu_s"] - each["start_cpu_s"] for each in (first, last)]
    return math.log(took[1] / took[0]) / math.log(last["mb"] / first["mb"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[40, 160])
    parser.add_argument("--repeats", type=int, default=1, help="Medians are of so many runs.")
    parser.add_argument("--folder", type=Path, help="For all files, which are removed at the end.")
    parser.add_argument("--packed", action="store_true", help="The text lies in .gz files.")
    parser.add_argument("--no-compare", action="store_true", help="Measure only.")
    parser.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(prepare_text(*given.one)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        results = [
            measure(
                Path(folder),
                megabytes,
                repeats=given.repeats,
                packed=given.packed,
                compare=not given.no_compare and megabytes == min(given.megabytes),
            )
            for megabytes in sorted(given.megabytes)
        ]
    first, last = results[0], results[-1]
    growth = exponent(first, last) if len(results) > 1 else None
    keys = {
        "peak_mb": last["peak_mb"],
        "cpu_s_per_mb": last["cpu_s_per_mb"],
        "exponent": None if growth is None else round(growth, 3),
        "equal": first.get("equal"),
    }
    print(json.dumps(keys))


if __name__ == "__main__":
    main()
