"""Fetches data sources that are web pages or HTTP APIs, only from hosts that the settings name."""
