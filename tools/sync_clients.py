"""Generates the synchronous clients from the asynchronous ones: `make clients`.

    constellation/client/async_client.py -> client.py
    constellation/client/async_direct.py -> direct.py

The words `async` and `await` go, names are exchanged, and the few sentences of docstrings that
differ are listed here. With `--check` nothing is written, and a stale file is an error.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path("constellation/client")
FILES = {"async_client.py": "client.py", "async_direct.py": "direct.py"}

WORDS = [
    (r"\basync (?=def|with|for)", ""),
    (r"\bawait ", ""),
    (r"\bAwaitable\[((?:\w|\[\w+\])+)\]", r"\1"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bopen_async_channel\b", "open_channel"),
    (r"\bLongTexts\b", "SyncTexts"),
    (r"\bconstellation\.wire\.long_texts\b", "constellation.client.sync_waiting"),
    (r"\bAsync(Waiting|Messages)\b", r"Sync\1"),
    (r"\bAsync(Client|Closing|DirectClient|Stream)\b", r"\1"),
    (r"\basync_waiting import\b", "sync_waiting import"),
    (r"\bclient\.async_client\b", "client.client"),
]

SENTENCES = {
    "async_client.py": [
        ("The asynchronous client", "The synchronous client"),
        (
            "`client.py` is generated from this file (`make clients`); `async_waiting` and"
            " `sync_waiting` hold\nwhat differs.",
            "Generated from `async_client.py` by `make clients`: edit that file.",
        ),
        (
            " from asyncio code; close it, or use `async with`.\n\n"
            "    The client connects on first use and belongs to the event loop that runs then: in"
            " another\n    event loop its methods raise `ConfigError`.\n",
            "; close it, or use `with`.\n\n    Threads may share a client.\n",
        ),
        ("as an async iterator", "as an iterator"),
    ],
    "async_direct.py": [
        ("The asynchronous direct client", "The synchronous direct client"),
        (
            " `direct.py` is\ngenerated from this file (`make clients`).",
            "\n\nGenerated from `async_direct.py` by `make clients`: edit that file.",
        ),
        (" without a router between, from asyncio code.", " without a router between."),
        ("use `async with`", "use `with`"),
        (
            "    The event loop reads short texts itself, some tenths of a millisecond for 64"
            " tokens; a thread\n    reads texts beyond `LONG_CHARACTERS`, and explanations.\n\n",
            "",
        ),
        ("as an async iterator", "as an iterator"),
        ("; a thread reads long texts.", "."),
    ],
}


def synchronous(name: str, source: str) -> str:
    """Return the synchronous counterpart of an asynchronous client's source text.

    Raises:
        ValueError: A sentence to exchange is not in the text.
    """
    for old, new in SENTENCES[name]:
        if old not in source:
            raise ValueError(f"{name} has no {old!r}, which {__file__} exchanges")
        source = source.replace(old, new)
    for pattern, new in WORDS:
        source = re.sub(pattern, new, source)
    return source


def formatted(source: str) -> str:
    """Return Python text without unused imports, sorted and laid out as `ruff` does."""
    for options in (["check", "--quiet", "--select", "F401,I", "--fix-only"], ["format"]):
        command = [sys.executable, "-m", "ruff", *options, "--stdin-filename", "client.py", "-"]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
        source = done.stdout
    return source


def main(arguments: list[str]) -> int:
    """Write the synchronous clients, or with `--check` say which are stale; return the status."""
    status = 0
    for name, target in FILES.items():
        text = formatted(synchronous(name, (FOLDER / name).read_text(encoding="utf-8")))
        path = FOLDER / target
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{path} is stale: run make clients\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
