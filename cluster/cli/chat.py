"""The command `chat`: an interactive session in which each turn is routed to its nearest kernel.

Earlier turns are the context of the next one.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import kernel_folder, options, output_format
from cluster.cli.ask import print_stream
from cluster.cli.connection import configuration, connect
from cluster.cli.terminal_session import Session
from constellation.errors import ConfigError, InvalidPrompt

if TYPE_CHECKING:
    from constellation.client import Client, Reply
    from constellation.records import Route


def chat(
    context: Annotated[
        int,
        typer.Option(
            min=16,
            max=1_000_000,
            help="Largest number of tokens of the earlier turns, the new turn and its reply "
            "together, 16 to 1000000; lowered to what the kernels can read. Older turns are "
            "dropped.",
        ),
    ] = 256,
    kernel: options.Kernel = None,
    rule: options.Rule = None,
    tokens_max: Annotated[
        int,
        typer.Option(
            min=1,
            max=4096,
            help="Largest number of tokens that one reply may have, 1 to 4096.",
        ),
    ] = 64,
    temperature: options.Temperature = None,
    seed: options.Seed = None,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder of one kernel to talk to instead, without a running constellation. "
            "Below each reply its measurements are printed: Phi (integration of the hidden "
            "states), kappa (attention coupling), recursion depth and basin (the text's "
            "point on the probability simplex).",
        ),
    ] = None,
    coordizer: kernel_folder.CoordizerFolder = None,
) -> None:
    """Talk to the constellation at the terminal; each turn is answered by its nearest kernel.

    Needs a running constellation, or --checkpoint. The kernels continue text; earlier turns are put
    before the new one as far as --context allows, and nothing is kept when the session ends.
    Ctrl-C stops a reply, /quit or Ctrl-D ends the session.

    Example: constellation chat --tokens-max 100
    """
    if checkpoint is not None:
        served = {"--kernel": kernel, "--rule": rule, "--endpoint": endpoint, "--timeout": timeout}
        _refuse("--checkpoint", {**served, "--run-dir": run_dir, "--token-file": token_file})
        sampling = {"tokens_max": tokens_max, "temperature": temperature, "seed": seed}
        _talk_to_checkpoint(checkpoint, coordizer, context, sampling)
        return
    _refuse("a constellation", {"--coordizer": coordizer})
    asked = {
        "kernel": kernel,
        "rule": rule,
        "tokens_max": tokens_max,
        "temperature": temperature,
        "seed": seed,
    }
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout) as client:
        _ServedSession(client, Conversation(limit=context, room=tokens_max), asked).run()


def _refuse(instead: str, given: dict[str, object]) -> None:
    """Raise when options are given that would have no effect in this kind of session."""
    if wrong := [flag for flag, value in given.items() if value is not None]:
        raise ConfigError(f"{', '.join(wrong)} does not apply to {instead}; leave it out")


def _talk_to_checkpoint(
    folder: Path, coordizer: Path | None, context: int, sampling: dict[str, Any]
) -> None:
    from cluster.cli.chat_checkpoint import CheckpointSession
    from constellation.records import Sampling

    given = {name: value for name, value in sampling.items() if value is not None}
    loaded = kernel_folder.load(folder, coordizer)
    CheckpointSession(loaded, Sampling(**given), context=context).run()


@dataclass(slots=True)
class Conversation:
    """Decides how many of the earlier turns are put before the next one."""

    limit: int
    """Largest number of tokens that a kernel reads and writes together."""
    room: int
    """Tokens kept free for the reply, but at most half of `limit`."""
    _turns: deque[tuple[str, int]] = field(default_factory=deque)

    def prompt(self, text: str, num_tokens: int) -> str:
        """Return `text` after as many of the latest turns as fit; older turns are dropped."""
        left = self.limit - min(self.room, self.limit // 2) - num_tokens
        while self._turns and sum(count for _, count in self._turns) > left:
            self._turns.popleft()
        return "".join(turn for turn, _ in self._turns) + text

    def add(self, text: str, num_tokens: int) -> None:
        """Store a turn with its reply, and their number of tokens."""
        self._turns.append((text, num_tokens))

    def forget(self) -> None:
        """Drop all turns."""
        self._turns.clear()

    def shrink(self, limit: int) -> bool:
        """Lower `limit` to what a kernel accepts; return whether that allows a shorter prompt."""
        news = limit < self.limit
        self.limit = min(limit, self.limit)
        return news and bool(self._turns)


class _ServedSession(Session):
    """A session whose turns are answered by a running constellation."""

    help = "/route shows why the last kernel was chosen, /forget drops the context, /quit ends"

    def __init__(self, client: "Client", talk: Conversation, asked: dict[str, Any]) -> None:
        self._client = client
        self._talk = talk
        self._asked = asked
        self._last = ""

    def commands(self) -> Mapping[str, Callable[[], None]]:
        return {"/route": self._explain, "/forget": self._talk.forget}

    def _explain(self) -> None:
        if not self._last:
            output_format.stderr().print("nothing was asked yet", style="dim")
            return
        output_format.explain(output_format.stdout(), self._route(self._last, explain=True))

    def _route(self, text: str, *, explain: bool) -> "Route":
        asked = {name: self._asked[name] for name in ("kernel", "rule")}
        return self._client.route(text, explain=explain, **asked)

    def turn(self, text: str) -> None:
        self._last = text
        basin = self._client.basin(text)
        decided = self._route(text, explain=False)
        # Routed before it is asked, so that the name stands above the answer.
        output_format.stderr().print(output_format.route_line(decided))
        asked = {**self._asked, "kernel": decided.kernel}
        reply = self._answer(text, len(basin.tokens), asked)
        self._talk.add(f"{text}{reply.text}\n", len(basin.tokens) + reply.finish.num_tokens + 1)
        if reply.finish.reason == "context":
            self._talk.shrink(reply.finish.num_prompt_tokens + reply.finish.num_tokens)

    def _answer(self, text: str, num_tokens: int, asked: dict[str, Any]) -> "Reply":
        while True:
            try:
                return print_stream(self._client, self._talk.prompt(text, num_tokens), asked)
            except InvalidPrompt as error:
                if error.unit != "tokens" or not self._talk.shrink(error.limit + 1):
                    raise
