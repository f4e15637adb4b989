"""What a run tells while it works, and the ways to show and keep it."""
