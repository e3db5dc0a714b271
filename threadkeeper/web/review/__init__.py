"""Pages at `/review`, for reviewers: find the bad answers, judge them, act."""
