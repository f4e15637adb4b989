"""A router's process: both doors, and the way of every answer."""
