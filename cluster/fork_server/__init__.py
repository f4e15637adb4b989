"""Workers of our own Ray are forked from a process that has imported all they need."""
