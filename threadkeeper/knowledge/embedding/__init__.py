"""Embeds texts: with a model of this machine, or with a server that speaks OpenAI's protocol."""
