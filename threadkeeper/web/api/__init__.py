"""The API for programs, `/api/v1`: what a person does in the browser, with an API key."""
