"""Command groups whose help shows a flag without a type: `--json` instead of `--json <bool>`."""

from typing import Any

from typer.core import TyperGroup


class FlagGroup(TyperGroup):
    """A command group that hides the type of flags, in its help and in that of its commands."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters of the group, with the types of flags hidden."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, name: str) -> Any:
        """Return a command by its name, with the types of its flags hidden."""
        command = super().get_command(ctx, name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command


def _without_types(params: Any) -> Any:
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params
