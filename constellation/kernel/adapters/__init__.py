"""Small trained additions to a kernel whose own weights stay as they are and are shared."""
