"""The logging proxy: calls of other applications to their providers, passed through unchanged and recorded."""
