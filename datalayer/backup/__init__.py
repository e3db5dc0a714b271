"""Backups: a copy of the database and of the files that its rows name, and their restoration into an empty place."""
