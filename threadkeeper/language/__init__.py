"""The messages for users, in English and Chinese, and the choice between the two."""
