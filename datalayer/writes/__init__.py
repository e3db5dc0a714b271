"""The write queue: what goes into it, how a batch is stored, and what is spooled at the end."""
