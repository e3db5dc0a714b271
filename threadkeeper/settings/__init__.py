"""Settings: read from the environment or `.env`, checked, and reported."""
