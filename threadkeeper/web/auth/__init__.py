"""Authentication and roles: the gate, login tokens, Chainlit's login callbacks, and who may see what."""
