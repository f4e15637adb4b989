"""The command `logs`: shows what the processes of a constellation wrote into their logs."""

import json
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final

import typer

from cluster.cli import options
from cluster.cli.connection import configuration

LOOK_S: Final = 0.5
"""Seconds between two looks of --follow."""
_SHOWN: Final = ("time", "level", "message", "traceback")
"""Fields of a record that have a place of their own in a line."""


def logs(
    member: Annotated[
        str | None,
        typer.Argument(
            help="Name of a process, such as registry, router or kernel-mail. (default: all "
            "processes of this machine)",
        ),
    ] = None,
    lines: Annotated[
        int, typer.Option(min=0, max=1000, help="Number of last records to show, 0 to 1000.")
    ] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with new records until Ctrl-C.")
    ] = False,
    run_dir: options.RunDir = None,
    as_json: Annotated[
        bool, options.json_flag("each record, with the name of its process as member,")
    ] = False,
) -> None:
    """Show the logs of the processes that run, or ran, from a run folder on this machine.

    One record per line: time, process, level, what happened, and the facts.

    Example: constellation logs registry --follow
    """
    from actors.log_reader import follow as read_on
    from actors.log_reader import tail

    folder = configuration(run_dir=run_dir).run_dir / "logs"
    found = _files(folder, member)
    parts = {name: tail(path, num_lines=lines) for name, path in found.items()}
    offsets = {name: part.offset for name, part in parts.items()}
    records = _records({name: part.text for name, part in parts.items()})
    _print(records[-lines:] if lines else [], as_json=as_json)
    pause = Event()
    with suppress(KeyboardInterrupt):
        while follow:
            pause.wait(LOOK_S)
            found = _files(folder, member)  # processes join
            parts = {name: read_on(path, offsets.get(name, 0)) for name, path in found.items()}
            offsets = {name: part.offset for name, part in parts.items()}
            _print(_records({name: part.text for name, part in parts.items()}), as_json=as_json)


def _files(folder: Path, member: str | None) -> dict[str, Path]:
    """Return the logs of a folder by process, or the one of a process.

    Raises:
        DeploymentError: There is no such log.
    """
    from constellation.errors import DeploymentError

    found = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    if member is None and found:
        return found
    if member in found:
        return {member: found[member]}
    if not found:
        raise DeploymentError(f"{folder} holds no logs; name the run folder with --run-dir")
    raise DeploymentError(f"{folder} holds no log of {member!r}; there are: {', '.join(found)}")


def _records(texts: dict[str, str]) -> list[dict[str, Any]]:
    """Return the records of several logs in the order of their times."""
    records = [
        _record(name, line) for name, text in texts.items() for line in text.splitlines() if line
    ]
    return sorted(records, key=lambda record: str(record.get("time", "")))


def _record(member: str, line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {"message": line}
    return {"member": member, **content}


def _print(records: list[dict[str, Any]], *, as_json: bool) -> None:
    for record in records:
        print(json.dumps(record) if as_json else _line(record), flush=True)


def _line(record: dict[str, Any]) -> str:
    """Return a record as one line for people, with its traceback below."""
    facts = {name: value for name, value in record.items() if name not in (*_SHOWN, "member")}
    facts.pop("logger", None)
    said = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in facts.items())
    level, traceback = str(record.get("level", "")), record.get("traceback", "")
    head = f"{record.get('time', '')} {record['member']} {level}: {record.get('message', '')}"
    return f"{head} {said}".rstrip() + (f"\n{traceback}" if traceback else "")
