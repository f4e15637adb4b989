"""Read the last error lines of Ray's worker processes that died before they could log."""

from pathlib import Path

_PATTERN = "session_*/logs/worker-*.err"
_LINES_MAX = 5
_TAIL_BYTES = 16 * 1024


def last_error_lines(ray_folder: Path) -> list[str]:
    """Return the last line of standard error of each Ray worker that wrote one, latest first."""
    found = []
    for path in {path.resolve() for path in ray_folder.glob(_PATTERN)}:
        try:
            said, changed_s = _last_line(path), path.stat().st_mtime
        except OSError:  # removed meanwhile
            continue
        if said:
            found.append((changed_s, said))
    return list(dict.fromkeys(said for _, said in sorted(found, reverse=True)))[:_LINES_MAX]


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    # Ray marks what it adds itself with a colon in front.
    said = [line.strip() for line in lines if line.strip() and not line.startswith(":")]
    return said[-1] if said else ""
