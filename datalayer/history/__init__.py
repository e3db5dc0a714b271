"""Users, threads, steps, elements and votes: their SQL, and the search in them."""
