"""What is watched while a kernel trains, and what is done about it. Pure but for the probe."""
