"""Accounts with passwords and roles, their logins, their shared threads, and how a user is erased."""
