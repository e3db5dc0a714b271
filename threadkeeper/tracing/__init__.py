"""Traces of answers for OpenTelemetry. `hooks` is what the rest of the application calls; it imports nothing of it."""
