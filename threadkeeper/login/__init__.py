"""Passwords, roles and the throttling of failed logins."""
