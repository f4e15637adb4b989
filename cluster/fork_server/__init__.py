"""Fork Ray's workers from one process that has imported all modules, to save memory and time."""
