"""Jobs: work that survives a restart, with progress, cancelling, and one take-over when a process dies."""
