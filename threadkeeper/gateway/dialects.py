"""The forms in which providers are asked and answer."""

from typing import Literal

Dialect = Literal["openai", "responses", "anthropic", "gemini", "interactions"]
