"""Markdown, formulas and code as safe HTML."""
