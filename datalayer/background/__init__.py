"""What runs beside the writes: indexing, following answers, deleting files."""
