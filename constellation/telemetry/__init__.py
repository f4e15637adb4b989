"""Logging set-up and the metric catalogue."""
