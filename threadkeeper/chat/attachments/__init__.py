"""Files that users attach: which are taken, how their text is read, and where it is cached."""
