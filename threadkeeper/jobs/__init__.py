"""The application's kinds of jobs, and where they are registered."""
