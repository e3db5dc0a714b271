"""A conversation on Chainlit's page: where a turn of the chat meets the browser and the store."""
