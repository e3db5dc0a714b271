"""Files: reading, links, verification and the move to another store."""
