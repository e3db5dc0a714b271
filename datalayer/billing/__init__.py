"""Prices, projects with their providers, limits, and the cost of calls."""
