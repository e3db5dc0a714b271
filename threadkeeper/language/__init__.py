"""The messages for users in all languages, the choice of a language, and how it writes numbers."""
