"""The page at `/me`: what is kept of a person, who looked at it, and how they take it along or away."""
