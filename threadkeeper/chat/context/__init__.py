"""What a model is sent of a thread: messages, counted in tokens, within the model's window."""
