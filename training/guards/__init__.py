"""Watch a kernel's training for spikes and collapse, and decide on rollbacks."""
