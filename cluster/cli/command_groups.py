"""Groups of commands whose help shows a flag as what it is: `--json`, and not `--json <bool>`."""

from typing import Any

from typer.core import TyperGroup


class FlagGroup(TyperGroup):
    """A group in whose help, and in that of its commands, flags have no type."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters of the group itself."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, name: str) -> Any:
        """Return a command by its name."""
        command = super().get_command(ctx, name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command


def _without_types(params: Any) -> Any:
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params
