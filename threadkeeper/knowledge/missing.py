"""What a server lacks to train or to search."""


class NoKnowledge(Exception):
    """This server cannot train nor search; `str` says what to set or to install, for its operator."""
