"""Threads that come from another chat: each is stored whole, with its own times, or not at all."""
