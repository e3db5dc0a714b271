"""What assistants know: documents are loaded, cut into chunks, embedded, and looked up for a question."""
