"""Which models are in the picker of the chat, for whom, and which is the default."""
