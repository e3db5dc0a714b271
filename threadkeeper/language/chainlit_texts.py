"""Texts that Chainlit itself writes into threads, as in its code. Check them with each new version of Chainlit."""

STOP_NOTICE = "Task manually stopped."
"""Chainlit's message after a user presses Stop, in English in every language. Our mark under the answer replaces it."""
