"""The node actor: what is local to one machine of a constellation."""
