"""Read the unlearned sources from a routing table that version 0.1.0 wrote.

Such a table is in an artifacts folder without releases, and in the folder of each kernel that
joined or left, as a table of that kernel alone.
"""

from pathlib import Path
from typing import Any, Final

import msgpack

from constellation.errors import ArtifactError
from constellation.wire.table_file import TABLE_BYTES_MAX, load_table

SITE_FILE: Final = "site.msgpack"
"""Name of the table in the folder of a kernel that joined or left."""


def unlearned_sources(path: Path) -> dict[str, tuple[str, ...]]:
    """Return kernel -> unlearned sources of its text, in the order of unlearning.

    Raises:
        ArtifactError: The file cannot be read, or is not a table.
    """
    load_table(path)  # verifies its digest
    try:
        envelope: dict[str, Any] = msgpack.unpackb(path.read_bytes(), max_bin_len=TABLE_BYTES_MAX)
        content = msgpack.unpackb(envelope["content"], max_bin_len=TABLE_BYTES_MAX)
        told = {str(site["name"]): tuple(site.get("unlearned", ())) for site in content["sites"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(path, f"not a kernel table: {error!r}") from error
    if not all(isinstance(source, str) for sources in told.values() for source in sources):
        raise ArtifactError(path, "not a kernel table: sources that are no names")
    return told
