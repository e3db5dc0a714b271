"""Claims of threads: one answer at a time in each, over all processes."""
