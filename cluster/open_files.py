"""How many files a process may have open: every connection is one, and so is every log.

Systems give a process a low limit (often 1,024) that the process may raise by itself up to a high
one. A server at its limit takes no new connection, and the caller hears nothing but silence.
"""

import resource

OPEN_FILES_MAX = 65_536
"""Where raising ends: more is not needed, and some programs walk through all that may be open."""


def raise_open_files() -> int:
    """Raise the limit of this process, which those it starts inherit; return what it is now."""
    soft, hard = (_counted(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = min(hard, OPEN_FILES_MAX)
    if soft >= wanted:
        return soft
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))
    return wanted


def open_files_limit() -> int:
    """Return what the limit is after `raise_open_files`, without raising it."""
    soft, hard = (_counted(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return max(soft, min(hard, OPEN_FILES_MAX))


def _counted(limit: int) -> int:
    return OPEN_FILES_MAX if limit == resource.RLIM_INFINITY else limit
