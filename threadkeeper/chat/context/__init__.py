"""The part of a thread that is sent to a model: messages, counted in tokens, within the model's window."""
