"""Calls to models: stored, aggregated, listed, exported and checked."""
