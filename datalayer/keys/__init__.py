"""API keys: programs act as their users by them."""
