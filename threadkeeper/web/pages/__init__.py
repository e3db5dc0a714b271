"""Pages that this server writes itself, beside Chainlit's: one shell, one style, and who may see them."""
