"""Prices, projects and providers, limits, and what calls cost."""
