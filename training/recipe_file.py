"""Find and read a recipe by name or path, with what it extends and with changed keys.

A recipe may say `extends = "NAME"`: then its keys are laid over those of that recipe, section by
section. Changes from the command line come last.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from constellation.errors import ConfigError
from constellation.field_errors import field_problems
from training.recipe import Recipe

RECIPES = Path(__file__).parent / "recipes"
"""Where the recipes that come with the project lie."""


def load_recipe(name_or_path: str | Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe by the name of one that comes with the project, or by its path.

    Args:
        name_or_path: Which.
        changes: "KEY=VALUE" with a dotted key and a TOML value, such as "seed_stage.steps=200";
            a value that is no TOML is taken as text.

    Raises:
        ConfigError: The file is missing or not TOML, or a key is unknown, missing or out of
            range; the message names every such key.
    """
    values = _read(name_or_path, ())
    for change in changes:
        values = _over(values, _parse(change))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = field_problems(error, Recipe)
        raise ConfigError(f"recipe {Path(name_or_path).name}: {problems}") from error


def _read(name_or_path: str | Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """Return a recipe's values, those it extends included.

    A name that it extends is looked for beside it before it is looked for among ours.
    """
    path = _find(name_or_path, above)
    if path in above:
        raise ConfigError(f"recipe {path.name} extends itself; remove one `extends`")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        names = sorted(file.stem for file in RECIPES.glob("*.toml"))
        near = difflib.get_close_matches(str(name_or_path), names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"no recipe {str(name_or_path)!r}; {hint}give a file or one of: {', '.join(names)}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    base = values.pop("extends", None)
    return values if base is None else _over(_read(base, (*above, path)), values)


def _find(name_or_path: str | Path, above: tuple[Path, ...]) -> Path:
    beside = [above[-1].parent / f"{name_or_path}.toml"] if above else []
    candidates = [*beside, RECIPES / f"{name_or_path}.toml"]
    return next((path for path in candidates if path.is_file()), Path(name_or_path))


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay tables over each other; what is no table replaces what was there."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _over(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _parse(change: str) -> dict[str, Any]:
    key, equals, value = change.partition("=")
    if not equals or not all(part.isidentifier() for part in key.split(".")):
        raise ConfigError(f"{change!r} is no change; write KEY=VALUE, as in seed_stage.steps=200")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        return dict(nested)
