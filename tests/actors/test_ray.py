"""What Ray says of an actor that died, in a line for people."""

import pytest
from ray.exceptions import RayActorError

from actors._ray import REASON_CHARACTERS_MAX, reason_of

INIT = """The actor died because of an error raised in its creation task, ray::K.__init__()
  File "group.py", line 62, in load
    self._loaded = await asyncio.to_thread(_load, self._spec, names, lenient=True)
{last}
"""


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("constellation.errors.ArtifactError: a/b: damaged: why", "a/b: damaged: why"),
        ("OSError: [Errno 28] No space left on device: 'x'", None),
        ("ModuleNotFoundError: No module named 'torch'", None),
    ],
)
def test_what_could_not_start_says_what_it_raised(last: str, reason: str | None) -> None:
    error = RayActorError(error_msg=INIT.format(last=last), actor_init_failed=True)
    assert reason_of(error) == (reason or last)


def test_what_died_otherwise_is_one_line_of_bounded_length() -> None:
    error = RayActorError(error_msg="The actor is dead.\n  Worker exit type: SYSTEM_ERROR\n" * 50)
    assert reason_of(error).startswith("The actor is dead. Worker exit type: SYSTEM_ERROR")
    assert len(reason_of(error)) == REASON_CHARACTERS_MAX
    assert reason_of(RayActorError(error_msg="")) == "RayActorError"
