"""Events that a training run emits, and how they are shown and logged."""
