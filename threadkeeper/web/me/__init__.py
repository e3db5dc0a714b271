"""The page at `/me`: a user's own data, the list of reviewers who opened it, and its export and deletion."""
