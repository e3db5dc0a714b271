"""Finds formulas in Markdown: between dollars by pandoc's rule, and between `\\(` and `\\)` or `\\[` and `\\]`."""
