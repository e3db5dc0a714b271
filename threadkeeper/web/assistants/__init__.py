"""The pages at `/assistants`."""
