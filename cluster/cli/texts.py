"""Read the text files given to a command, and list skipped files on standard error."""

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.cli import output_format

if TYPE_CHECKING:
    from constellation.curricula.corpus import Corpus


def read_documents(path: Path) -> "Corpus":
    """Return the documents of a folder or file; list what was not read on standard error.

    Raises:
        CorpusError: No text can be read there.
    """
    from constellation.curricula.corpus import read_corpus
    from constellation.curricula.reading_report import reading_lines

    corpus = read_corpus(path)
    _, *unread = reading_lines(corpus)
    for line in unread:
        output_format.stderr().print(line, markup=False, highlight=False, soft_wrap=True)
    return corpus
