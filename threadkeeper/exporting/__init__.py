"""Threads as files for people and for other programs: Markdown, one HTML page, JSON, or OpenAI's messages."""
