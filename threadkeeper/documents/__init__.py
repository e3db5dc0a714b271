"""Reads documents, each in a process of its own with limits. The chat and the knowledge use it."""
