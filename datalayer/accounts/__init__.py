"""Accounts with passwords and roles, their logins, their shared threads, and the erasure of users."""
