"""Chooses between English and Chinese."""


def is_chinese(language: str | None) -> bool:
    """Whether a language tag ("zh-CN") or the first tag of an Accept-Language header ("zh-CN,zh;q=0.9") is Chinese."""
    return (language or "").lstrip().lower().startswith("zh")
