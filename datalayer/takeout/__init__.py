"""All that a user has, as one zip: written and read back."""
