"""`/v1`: an endpoint that OpenAI's clients and Anthropic's speak to, for models and assistants of this server."""
