"""Explain in words why a training ended before its kernels were finished."""

from collections.abc import Sequence

from training.runs.training_plan import TrainingPlan


def unfinished_words(plan: TrainingPlan, unfinished: Sequence[str], changed: Sequence[str]) -> str:
    """Return why a training whose kernels are not all finished has ended.

    Args:
        plan: The plan of the training.
        unfinished: Kernels that the training has not finished.
        changed: Unfinished kernels whose files the training changed.
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
