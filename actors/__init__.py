"""Ray actors: thin shells around the library's logic. The core of a running constellation."""
