"""One strategy per error class: all the facts an error of this class may carry."""

from collections.abc import Iterator

from hypothesis import strategies as st

from constellation import errors
from constellation.curricula.logic import puzzle_errors

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=24)
texts = st.text(max_size=200)
counts = st.integers(0, 2**40)
radians = st.floats(0, 3.2)
seconds = st.floats(0, 3600)


def _out_of_domain(distances: dict[str, float]) -> errors.OutOfDomain:
    return errors.OutOfDomain(distances, {name: value / 2 for name, value in distances.items()})


EXAMPLES: dict[type[errors.ConstellationError], st.SearchStrategy[errors.ConstellationError]] = {
    errors.ConstellationError: st.builds(errors.ConstellationError, texts),
    errors.ConfigError: st.builds(errors.ConfigError, texts),
    errors.ArtifactError: st.builds(errors.ArtifactError, names, texts),
    errors.CorpusError: st.builds(errors.CorpusError, names, texts),
    errors.HlxError: st.builds(
        errors.HlxError, names, texts, position=st.none() | counts, unit=names
    ),
    puzzle_errors.PuzzleError: st.builds(puzzle_errors.PuzzleError, texts),
    puzzle_errors.PuzzleSyntaxError: st.builds(
        puzzle_errors.PuzzleSyntaxError, counts, found=texts, expected=texts
    ),
    puzzle_errors.PuzzleTooLarge: st.builds(
        puzzle_errors.PuzzleTooLarge, names, value=counts, limit=counts
    ),
    errors.TrainingError: st.builds(errors.TrainingError, texts),
    errors.DoesNotFit: st.builds(errors.DoesNotFit, names, needed_bytes=counts, limit_bytes=counts),
    errors.BudgetUsedUp: st.builds(
        errors.BudgetUsedUp,
        st.sampled_from(["tokens", "minutes", "cost"]),
        used=seconds,
        limit=seconds,
    ),
    errors.DeploymentError: st.builds(errors.DeploymentError, texts),
    errors.NotEnoughMemory: st.builds(
        errors.NotEnoughMemory,
        names,
        needed_bytes=counts,
        free_bytes=counts,
        num_nodes=counts,
    ),
    errors.NotOnLoopback: st.builds(errors.NotOnLoopback, names, address=names, advice=texts),
    errors.RequestError: st.builds(errors.RequestError, texts),
    errors.InvalidRequest: st.builds(
        errors.InvalidRequest, names, st.one_of(texts, st.floats(), st.none()), texts
    ),
    errors.InvalidPrompt: st.builds(
        errors.InvalidPrompt, length=counts, limit=counts, unit=st.sampled_from(["tokens", "bytes"])
    ),
    errors.UnknownSymbol: st.builds(
        errors.UnknownSymbol, st.characters(), position=counts, vocabulary=texts
    ),
    errors.InvalidBasin: st.builds(errors.InvalidBasin, texts),
    errors.UnknownKernel: st.builds(errors.UnknownKernel, texts, st.lists(names, max_size=8)),
    errors.MessageTooLarge: st.builds(errors.MessageTooLarge, limit_bytes=counts),
    errors.Overloaded: st.builds(errors.Overloaded, texts, depth=counts, retry_after_s=seconds),
    errors.Unauthenticated: st.builds(errors.Unauthenticated),
    errors.DeadlineExceeded: st.builds(errors.DeadlineExceeded, texts),
    errors.Cancelled: st.builds(errors.Cancelled, texts),
    errors.OutOfDomain: st.builds(
        _out_of_domain, st.dictionaries(names, radians, min_size=1, max_size=8)
    ),
    errors.ReloadRefused: st.builds(errors.ReloadRefused, texts),
    errors.GrowthRefused: st.builds(errors.GrowthRefused, names, texts),
    errors.IncompatibleKernels: st.builds(errors.IncompatibleKernels, names),
    errors.KernelUnavailable: st.builds(errors.KernelUnavailable, names, texts),
    errors.ServiceUnavailable: st.builds(errors.ServiceUnavailable, names, texts),
    errors.InternalError: st.builds(errors.InternalError, names),
}


def tree(
    kind: type[errors.ConstellationError] = errors.ConstellationError,
) -> Iterator[type[errors.ConstellationError]]:
    """Walk `kind` and every class below it that the library raises."""
    if not kind.__name__.startswith("_"):
        yield kind
    for below in kind.__subclasses__():
        if below.__module__.split(".")[0] != "tests":
            yield from tree(below)
