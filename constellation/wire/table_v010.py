"""What a table of version 0.1.0 says beyond the tables of today: which text was unlearned.

Such a table lies in an artifacts folder without releases, and in the folder of each kernel that had
joined or left, as a table of this kernel alone.
"""

from pathlib import Path
from typing import Any, Final

import msgpack

from constellation.errors import ArtifactError
from constellation.wire.table_file import TABLE_BYTES_MAX, load_table

SITE_FILE: Final = "site.msgpack"
"""In the folder of a kernel that had joined or left: its table."""


def unlearned_sources(path: Path) -> dict[str, tuple[str, ...]]:
    """Return kernel -> sources of its text that it had unlearned, in the order they went.

    Args:
        path: The table.

    Raises:
        ArtifactError: It cannot be read, or is no table.
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
