"""Prompts: texts that users keep to ask them again, their own and shared ones."""
