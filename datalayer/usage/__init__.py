"""Calls to models: stored, counted, listed, exported and verified."""
