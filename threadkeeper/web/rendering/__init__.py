"""Renders text of users and models as safe HTML: Markdown, formulas and highlighted code."""
