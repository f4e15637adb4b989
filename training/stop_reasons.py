"""Explain in words why a training ended before its kernels were finished."""

from collections.abc import Sequence

from training.runs.training_plan import TrainingPlan


def unfinished_words(plan: TrainingPlan, unfinished: Sequence[str], changed: Sequence[str]) -> str:
    """Return why a training has ended before its kernels were finished.

    Of the unfinished kernels, the training changed the files of those in `changed`.
    """
    if changed:
        return (
            f"training ended, and what lies in {plan.out} of {', '.join(changed)} is not of this "
            "training: others have written there meanwhile; run the same command, which makes "
            "them anew"
        )
    return (
        f"training was stopped before {', '.join(unfinished)} had finished; checkpoints are "
        "written, run the same command to resume from them"
    )
