"""llama.cpp as a peer of `benchmarks.generate`: writes texts in an interpreter of its own.

Runs where `llama_cpp` is installed (`pip install llama-cpp-python gguf`), so this file imports
nothing of this project. It is started with a file of weights and a number of threads, reads a line
of JSON for each turn (`{"prompts": [[...]], "tokens": n}`) and answers with one: the greedy tokens
of all texts, written together, and the seconds that took, of processor and of the clock.
"""

import ctypes
import json
import sys
import time
from pathlib import Path

import gguf
import llama_cpp as llama
import numpy as np


def main() -> None:
    path, num_threads = as_gguf(Path(sys.argv[1])), int(sys.argv[2])
    llama.llama_backend_init()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, ctypes.c_void_p())
    model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot read {path}")
    for line in sys.stdin:
        asked = json.loads(line)
        answer = turn(model, asked["prompts"], asked["tokens"], num_threads)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def as_gguf(weights: Path) -> Path:
    """Return the weights as a file that llama.cpp reads, in float32, beside the one given."""
    path = weights.with_suffix(".gguf")
    writer = gguf.GGUFWriter(path, "llama")
    with np.load(weights) as arrays:
        for fact, value in json.loads(str(arrays["facts"])).items():
            getattr(writer, f"add_{fact}")(value)
        writer.add_tokenizer_model("no_vocab")
        for name in arrays:
            if name != "facts":
                writer.add_tensor(name, np.ascontiguousarray(arrays[name]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def turn(model: object, prompts: list[list[int]], num: int, num_threads: int) -> dict[str, object]:
    """Return what the texts become and what that took; making the context is not counted."""
    longest = max(map(len, prompts)) + num
    terms = llama.llama_context_default_params()
    terms.n_ctx = longest * len(prompts)
    terms.n_batch = terms.n_ubatch = sum(map(len, prompts))
    terms.n_seq_max = len(prompts)
    terms.n_threads = terms.n_threads_batch = num_threads
    context = llama.llama_init_from_model(model, terms)
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    batch = llama.llama_batch_init(terms.n_batch, 0, len(prompts))
    processor, wall = time.process_time(), time.perf_counter()
    ends = fill(batch, prompts, [0] * len(prompts))
    texts: list[list[int]] = [[] for _ in prompts]
    for written in range(num):
        if llama.llama_decode(context, batch):
            raise SystemExit("llama.cpp refused a batch")
        for text, end in zip(texts, ends, strict=True):
            logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, end), (vocabulary,))
            text.append(int(logits.argmax()))
        newest = [text[-1:] for text in texts]
        ends = fill(batch, newest, [len(prompt) + written for prompt in prompts])
    seconds = time.process_time() - processor, time.perf_counter() - wall
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    return {"texts": texts, "processor_s": seconds[0], "wall_s": seconds[1]}


def fill(batch: object, pieces: list[list[int]], starts: list[int]) -> list[int]:
    """Put every text's next tokens into a batch; return where the last one of each is."""
    place, ends = 0, []
    for sequence, (piece, start) in enumerate(zip(pieces, starts, strict=True)):
        for offset, token in enumerate(piece):
            batch.token[place] = token
            batch.pos[place] = start + offset
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = offset == len(piece) - 1
            place += 1
        ends.append(place - 1)
    batch.n_tokens = place
    return ends


if __name__ == "__main__":
    main()
