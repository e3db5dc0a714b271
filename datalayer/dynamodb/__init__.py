"""The chat in one DynamoDB table, laid out as Chainlit's own DynamoDB layer lays it out (docs/dynamodb.md)."""
