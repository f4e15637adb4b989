"""Select the numbers of an event that trackers plot, and name them."""

import math

from training.progress.events import KernelProgress


def scalars(progress: KernelProgress) -> dict[str, float]:
    """Return name -> value of every finite number in a progress report.

    Names are paths: numbers that are compared with each other share the first part.
    """
    values = {
        "loss/train_bits_per_byte": progress.bits_per_byte,
        "loss/held_out_bits_per_byte": progress.dev_bits_per_byte,
        "loss/train_bits_per_token": progress.loss_bits,
        "optimiser/gradient_norm": progress.gradient_norm,
        "optimiser/learning_rate": progress.learning_rate,
        "speed/tokens_per_second": progress.tokens_per_second,
        "speed/memory_bytes": progress.memory_bytes or None,
        "geometry/phi": progress.phi,
        "geometry/phi_gauge": progress.phi_gauge,
        "geometry/kappa": progress.kappa,
        "geometry/basin_distance_radians": progress.basin_distance,
        "geometry/depth": progress.depth,
        **{f"terms/{name}": value for name, value in progress.terms.items()},
    }
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }
