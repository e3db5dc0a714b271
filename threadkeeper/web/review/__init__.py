"""Pages at `/review`, for reviewers: find answers, rate and correct them, export them."""
