"""Passwords, roles and the slowing of failed logins."""
