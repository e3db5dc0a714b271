"""The model servers: OpenAI and what speaks its protocol, Azure OpenAI, and the demo."""
