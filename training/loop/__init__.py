"""One kernel's training: what a step minimises and moves, checkpoints, a clean stop. No Ray."""
