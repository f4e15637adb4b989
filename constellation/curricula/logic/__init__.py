"""Logic puzzles: syntax, prover, generated corpora and graders of answers. No network, no torch."""
