"""Report to people, in lines of text, which files of a corpus were read, and which were not."""

from collections.abc import Iterable, Mapping
from typing import Any

from constellation.curricula.documents import Corpus, Reading

LISTED_MAX = 8
"""Most names listed in one line; more names are only counted. The manifest has all names."""


def corpus_lines(manifest: Mapping[str, Any]) -> list[str]:
    """Return lines for people: what was read, what was not, and what preparing left out.

    Manifests of older versions have no entry "reading".
    """
    lines = _read_lines(manifest.get("reading") or {})
    lines += _left_out_lines(manifest)
    train = manifest["splits"]["train"]  # every version of the manifest has splits
    total = sum(split["num_bytes"] for split in manifest["splits"].values())
    domains = {
        name: f"{name} {in_units(values['num_bytes'])}" for name, values in train["domains"].items()
    }
    lines.append(
        f"prepared: {in_units(total)}; to learn from: {in_units(train['num_bytes'])} in "
        f"{len(domains)} domains: {_listed(domains.values())}"
    )
    return lines


def account_of(corpus: Corpus, num_documents: int | None = None) -> dict[str, Any]:
    """Return the entry "reading" of a corpus's manifest: all files and records, as JSON values.

    `num_documents` is the number of documents of a corpus whose documents are not in memory.
    """
    if num_documents is None:
        num_documents = len(corpus.documents)
    reading = corpus.reading or Reading(num_files=0, num_bytes=0)
    return {
        "num_documents": num_documents + sum(corpus.unmerged.values()),
        "num_files": reading.num_files,
        "num_bytes": reading.num_bytes,
        "skipped": [[skip.source, skip.reason] for skip in corpus.skipped],
        "unread_bytes": dict(reading.unread),
        "not_text": dict(reading.not_text),
        "passed_over": [[each.source, each.reason] for each in reading.passed_over],
        "hidden": list(reading.hidden),
        "renamed": list(reading.renamed),
        "domain_names": dict(reading.names),
        "unmerged": dict(corpus.unmerged),
    }


def reading_lines(corpus: Corpus) -> list[str]:
    """Return the lines about reading alone, for commands that do not prepare the text."""
    return _read_lines(account_of(corpus))


def in_units(num_bytes: int) -> str:
    """Format a size in bytes, such as "312 bytes", "4.5 kB" or "280.0 MB"."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def suffix_counts(counts: Mapping[str, int]) -> str:
    """Format counts of files by suffix, such as "60 .so, 3 .png"."""
    order = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))
    return _listed(f"{counts[suffix]} {suffix}" for suffix in order)


def _read_lines(reading: Mapping[str, Any]) -> list[str]:
    lines = []
    if reading.get("num_files"):
        lines.append(
            f"read: {reading['num_files']:,} files, {in_units(reading['num_bytes'])}, "
            f"{reading['num_documents']:,} documents"
        )
    if reading.get("not_text"):
        lines.append(f"not read, since they hold no text: {suffix_counts(reading['not_text'])}")
    if reading.get("skipped"):
        unread = reading["unread_bytes"]
        named = (
            f"{source} ({in_units(unread[source]) + ', ' if source in unread else ''}{reason})"
            for source, reason in reading["skipped"]
        )
        lines.append(f"not read, {len(reading['skipped'])} files or records: {_listed(named)}")
    if reading.get("passed_over"):
        lines.append(f"passed over: {_listed(f'{n} ({why})' for n, why in reading['passed_over'])}")
    if reading.get("hidden"):
        lines.append(f"hidden, so not read: {_listed(reading['hidden'])}")
    if reading.get("renamed"):
        lines.append(
            f"names that are not UTF-8, so written like this: {_listed(reading['renamed'])}"
        )
    if reading.get("domain_names"):
        called = (f"{old!r} is called {new}" for old, new in reading["domain_names"].items())
        lines.append(f"names of domains: {_listed(called)}")
    if reading.get("unmerged"):
        left = (f"{name} ({count:,} documents)" for name, count in reading["unmerged"].items())
        lines.append(f"left out, since corpus.merge does not name them: {_listed(left)}")
    return lines


def _left_out_lines(manifest: Mapping[str, Any]) -> list[str]:
    counts = {
        "empty after cleaning": manifest.get("num_empty", 0),
        "copies": manifest.get("num_exact_copies", 0),
        "near copies": manifest.get("num_near_copies", 0),
        "only repeated paragraphs": manifest.get("num_emptied", 0),
    }
    left = [f"{count:,} {name}" for name, count in counts.items() if count]
    if manifest.get("num_repeated_paragraphs"):
        left.append(f"{manifest['num_repeated_paragraphs']:,} repeated paragraphs")
    lines = [f"left out, documents: {', '.join(left)}"] if left else []
    if manifest.get("num_over_cap"):
        cap = manifest.get("over_cap", {})
        most = f" = {cap['bytes_max']:,}" if cap else ""
        by_domain = (
            f"{name} {values['num_documents']:,} ({in_units(values['num_bytes'])})"
            for name, values in cap.get("domains", {}).items()
        )
        lines.append(
            f"left out by corpus.domain_bytes_max{most}: {manifest['num_over_cap']:,} documents"
            + (f": {_listed(by_domain)}" if cap else "")
        )
    return lines


def _listed(names: Iterable[str]) -> str:
    """Join the first names, and state how many more there are."""
    names = list(names)
    more = len(names) - LISTED_MAX
    return ", ".join(names[:LISTED_MAX]) + (f" and {more:,} more" if more > 0 else "")
