"""Which of the two languages spoken here a person reads."""


def is_chinese(language: str | None) -> bool:
    """Takes a tag ("zh-CN") or a list of them as browsers send it ("zh-CN,zh;q=0.9,en;q=0.8"): the first one counts."""
    return (language or "").lstrip().lower().startswith("zh")
