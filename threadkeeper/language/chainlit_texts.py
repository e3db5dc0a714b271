"""What Chainlit itself writes into a thread, as it stands in its code: with another version, look here first."""

STOP_NOTICE = "Task manually stopped."
"""Beside an answer when its user presses Stop, in English whatever the language. The answer says so itself."""
