"""`chat`: what is kept of earlier turns, and a session against a served router."""

from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.cli.chat import Conversation
from constellation.errors import InvalidPrompt
from tests.cli.conftest import Run
from tests.wire.fakes import FakeRouter, Served

turns = st.lists(st.tuples(st.text("ab", min_size=1, max_size=30)), max_size=12)


@given(turns, st.integers(16, 64), st.integers(1, 64), st.integers(0, 20))
def test_the_prompt_leaves_room_for_the_answer(
    spoken: list[tuple[str]], limit: int, room: int, length: int
) -> None:
    """As many of the latest turns as fit, in order, and the new text always."""
    talk = Conversation(limit=limit, room=room)
    for (text,) in spoken:
        talk.add(text, len(text))
    text = "c" * length
    prompt = talk.prompt(text, length)
    everything = "".join(turn for (turn,) in spoken) + text
    assert everything.endswith(prompt)
    assert prompt.endswith(text)
    left = limit - min(room, limit // 2)
    assert len(prompt) <= max(left, length)
    kept = len(prompt) - length
    sizes = [len(turn) for (turn,) in reversed(spoken)]
    sums = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    assert kept in sums
    longer = [total for total in sums if total > kept]
    assert not longer or longer[0] + length > left


def test_a_smaller_limit_is_news_only_with_something_to_forget() -> None:
    talk = Conversation(limit=100, room=10)
    assert not talk.shrink(50)
    talk.add("abc", 3)
    assert not talk.shrink(60)
    assert talk.shrink(20)
    assert talk.limit == 20
    talk.forget()
    assert talk.prompt("x", 1) == "x"


def test_every_turn_is_routed_by_itself_with_the_earlier_ones_as_context(
    run: Run, served: Served
) -> None:
    result = run("chat", "--endpoint", served.endpoint, typed="one\n\ntwo\n/quit\nthree\n")
    assert result.exit_code == 0
    routed = [text for text, detail, _ in served.router.calls if detail is None]
    assert set(routed) == {"one\n", "two\n"}
    asked = [text for text, detail, _ in served.router.calls if detail is not None]
    assert asked == ["one\n", "one\none\n\ntwo\n"]
    assert result.stderr.count("→ python") == 2


def test_a_session_ends_with_its_input_and_shows_routes(run: Run, served: Served) -> None:
    result = run("chat", "--endpoint", served.endpoint, typed="/route\nhello\n/route\n/what\n")
    assert result.exit_code == 0
    assert "nothing was asked yet" in result.stderr
    assert "'gather'" in result.stdout
    assert result.stderr.count("/quit ends") == 2


def test_forgetting_drops_the_context(run: Run, served: Served) -> None:
    run("chat", "--endpoint", served.endpoint, typed="one\n/forget\ntwo\n")
    asked = [text for text, detail, _ in served.router.calls if detail is not None]
    assert asked == ["one\n", "two\n"]


def test_a_failed_turn_does_not_end_the_session(run: Run, served: Served) -> None:
    served.router.failures.append(InvalidPrompt(length=0, limit=8))
    result = run("chat", "--endpoint", served.endpoint, typed="one\ntwo\n")
    assert result.exit_code == 0
    assert "send 1 to 8 tokens" in result.stderr
    assert result.stdout.splitlines()[0] == "two"


def test_a_prompt_that_is_too_long_for_the_kernel_is_shortened(run: Run, served: Served) -> None:
    """The second turn is refused once, with the limit; then it is asked without the first."""
    asked = _limit_prompts(served.router, 12)
    result = run("chat", "--endpoint", served.endpoint, "--tokens-max", "4", typed="one\ntwo\n")
    assert "error" not in result.stderr
    assert asked == ["one\n", "one\none\n\ntwo\n", "two\n"]


def _limit_prompts(router: FakeRouter, limit: int) -> list[str]:
    """Make the router refuse longer prompts; return a list that collects all of them."""
    answer, asked = router.generate, []

    async def generate(prompt: str, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        asked.append(prompt)
        if len(prompt) > limit:
            raise InvalidPrompt(length=len(prompt), limit=limit)
        async for item in answer(prompt, *arguments, **options):
            yield item

    router.generate = generate  # type: ignore[method-assign]
    return asked


def test_what_is_no_text_on_standard_input_is_one_line(run: Run, served: Served) -> None:
    result = run("chat", "--endpoint", served.endpoint, typed=b"hello\n\xff\xfe\n")
    assert result.exit_code == 1
    assert "error: standard input is b" in result.stderr
    assert "allowed: UTF-8 text" in result.stderr
