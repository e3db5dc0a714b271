"""The pages of the knowledge of an assistant, at `/assistants/<slug>/knowledge`."""
