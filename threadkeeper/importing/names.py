"""The names of the formats, as their makers write them."""

NAMES = {
    "chatgpt": "ChatGPT",
    "claude": "Claude",
    "open-webui": "Open WebUI",
    "librechat": "LibreChat",
    "deepseek": "DeepSeek",
    "le-chat": "Le Chat",
    "gemini": "Gemini",
    "grok": "Grok",
    "chat-ui": "HuggingChat",
    "lm-studio": "LM Studio",
    "jan": "Jan",
    "threadkeeper": "Threadkeeper, Chainlit",
}
"""By the source of their reader."""
READABLE = ", ".join(NAMES.values())
