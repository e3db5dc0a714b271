"""The SQL of users, threads, steps, elements and votes, and the search in them."""
