"""Raise and read the limit of open files of this process, network connections included.

A process starts with a low limit (often 1,024), which it may raise by itself up to a high one. A
server at its limit accepts no new connection, and the caller waits in vain.
"""

import resource

OPEN_FILES_MAX = 65_536
"""Largest limit that is set: more is not needed, and some programs loop over all possible files."""


def raise_open_files() -> int:
    """Raise the limit of this process, which its children inherit; return the new limit."""
    soft, hard = (_counted(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = min(hard, OPEN_FILES_MAX)
    if soft >= wanted:
        return soft
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))
    return wanted


def open_files_limit() -> int:
    """Return the limit that `raise_open_files` would set, without raising it."""
    soft, hard = (_counted(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return max(soft, min(hard, OPEN_FILES_MAX))


def _counted(limit: int) -> int:
    return OPEN_FILES_MAX if limit == resource.RLIM_INFINITY else limit
