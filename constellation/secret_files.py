"""Read a secret from the first line of a file."""

from pathlib import Path

from constellation.errors import ConfigError


def read_secret(file: Path, what: str) -> str:
    """Return the first line of a file, which is a secret; `what` names the file in errors.

    Raises:
        ConfigError: The file cannot be read or is empty.
    """
    try:
        secret = file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except OSError as error:
        raise ConfigError(f"{what} {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {file} is not UTF-8 text") from error
    if not secret:
        raise ConfigError(f"{what} {file} is empty; write a secret in its first line")
    return secret
