"""Order among one's own threads: pinned, archived, in folders by tag."""
