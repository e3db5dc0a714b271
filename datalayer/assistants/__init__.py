"""Assistants: configured bots with versions, access, pictures and numbers."""
