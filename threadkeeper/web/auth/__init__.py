"""Whose request it is: the gate, login tokens, roles, and Chainlit's own login."""
