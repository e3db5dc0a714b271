"""Adopts a database of one of Chainlit's own data layers."""
