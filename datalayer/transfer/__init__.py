"""Copies a chat history from a DynamoDB table into a SQL database, and back. The source is not changed."""
