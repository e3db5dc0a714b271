"""The line under an answer."""

from threadkeeper.conversation.usage_footer import footer


def test_large_numbers_of_the_footer_have_separators() -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 5_000, "tokens_per_second": 12_408.4}
    step = {"id": "a", "type": "assistant_message", "metadata": {"model": "echo", "usage": usage}}
    line = footer(step, "en-US")
    assert line is not None
    assert line.label == "echo · 6,000 tokens · 12,408 tokens/s"


def test_the_footer_says_how_full_the_window_was_and_what_was_left_out() -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 200, "context_tokens": 1_200}
    context = {"window": 8_000, "left_out": 2}
    step = {"id": "a", "type": "assistant_message", "metadata": {"model": "echo", "usage": usage, "context": context}}
    line = footer(step, "en-US")
    assert line is not None
    assert line.label == "echo · 1,200 tokens · 15% of the context"
    assert "1,200 of the 8,000 tokens of the model’s context were used (15%). 2 older messages" in line.tooltip
    large, unknown = {"window": 1_000_000, "left_out": 0}, {"window": 0}
    for known, expected in ((large, "(<1%)."), (unknown, "received."), (None, "received.")):
        line = footer({**step, "metadata": {"model": "echo", "usage": usage, "context": known}}, "en-US")
        assert line is not None
        assert line.label == "echo · 1,200 tokens"
        assert line.tooltip.endswith(expected)
