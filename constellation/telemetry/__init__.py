"""Logging set-up, Prometheus metrics and OpenTelemetry tracing."""
