"""Make the current release from the text records of a run's own kernels."""

from collections.abc import Sequence
from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.domains.fit import Fitted
from constellation.domains.record import Domain
from constellation.releases.builder import publish
from constellation.releases.manifest import Release
from training.domain_records import fit_options
from training.joined_kernels import FormerRun
from training.progress.events import Notice, OnEvent


def publish_run(
    out: Path,
    before: FormerRun,
    own: Sequence[Domain],
    coordizer: Coordizer,
    *,
    basins_max: int,
    fitted: Fitted | None,
    on_event: OnEvent,
) -> Release:
    """Make the run's kernels the current release, with kernels that joined since its training.

    Args:
        out: The run's folder.
        before: What the folder served before.
        own: Records of the text of the run's own kernels, as it was read.
        coordizer: Coordizer of the training.
        basins_max: See `FitOptions.basins_max`.
        fitted: What `fit` gives for `own`, where that is known.
        on_event: Called with notices: which kernels are still served, which text counts again.

    Raises:
        ArtifactError: A kernel or the release before is damaged, or the store cannot be written.
    """
    names = [domain.name for domain in own]
    joined = before.joined(names)
    kept = before.without_unlearned(own)
    as_read = all(not domain.unlearned for domain in kept.domains)
    release = publish(
        out,
        kept.domains,
        coordizer,
        fit_options(coordizer, names, basins_max=basins_max),
        change=f"trained {len(names)} kernels",
        replaced=before.own,
        fitted=fitted if as_read else None,
    )
    if joined:
        on_event(Notice(text=f"still served, as they were: {', '.join(joined)}"))
    if kept.learned_again:
        relearned = ", ".join(kept.learned_again)
        on_event(Notice(text=f"counts again, cannot be unlearned any more: {relearned}"))
    return release
