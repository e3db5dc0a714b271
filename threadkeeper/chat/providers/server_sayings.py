"""The words with which servers refuse requests, and their sources. A test holds `server_words` against each row.

Sources without a host are issues and pull requests on github.com; "proxy" is LiteLLM's proxy 1.108.7 as it answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from threadkeeper.chat.providers.server_words import Meaning


class Row(NamedTuple):
    meaning: Meaning
    server: str
    status: int
    words: str
    source: str


def _rows(meaning: Meaning, *rows: tuple[str, int, str, str]) -> Iterable[Row]:
    return (Row(meaning, *row) for row in rows)


ROWS: tuple[Row, ...] = (
    *_rows(
        "too_long",
        (
            "OpenAI",
            400,
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "orhanerday/ChatGPT#17",
        ),
        (
            "OpenAI",
            429,
            "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 50000.",
            "platform.openai.com/docs/guides/error-codes",
        ),
        (
            "Gemini",
            400,
            "The input token count (218152) exceeds the maximum number of tokens allowed (65536).",
            "google-gemini/gemini-cli#12098",
        ),
        (
            "xAI",
            400,
            "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
            "cline/cline#3120",
        ),
        ("Anthropic", 400, "prompt is too long: 202095 tokens > 200000 maximum", "stackblitz/bolt.new#2449"),
        (
            "Anthropic",
            400,
            "input length and max_tokens exceed context limit: 90402 + 116650 > 204648, decrease input length",
            "stackblitz/bolt.new#7414",
        ),
        (
            "OpenRouter",
            400,
            "This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 tokens.",
            "refly-ai/refly#1177",
        ),
        (
            "llama.cpp",
            400,
            "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "ggml-org/llama.cpp#19774",
        ),
        ("llama.cpp", 500, "Context size has been exceeded.", "ggml-org/llama.cpp#19774"),
        (
            "llama-cpp-python",
            500,
            "Requested tokens (2285) exceed context window of 2048",
            "fedora-copr/logdetective-website#193",
        ),
        (
            "Text Generation Inference",
            422,
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
            "litellm 1.108.7, exception_mapping_utils.py",
        ),
        ("Bedrock", 400, "Input is too long for requested model.", "litellm 1.108.7, exception_mapping_utils.py"),
        (
            "LiteLLM",
            400,
            "litellm.ContextWindowExceededError: litellm.BadRequestError: this is a mock context window exceeded error",
            "proxy",
        ),
    ),
    *_rows(
        "quota",
        (
            "OpenAI",
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "GaiZhenbiao/ChuanhuChatGPT#792",
        ),
        (
            "Anthropic",
            400,
            "Your credit balance is too low to access the Anthropic API.",
            "anthropics/claude-code#4684",
        ),
        ("DeepSeek", 402, "Insufficient Balance", "continuedev/continue#9853"),
        (
            "LiteLLM",
            429,
            "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please check"
            " your plan and billing details.\n\nLiteLLM: model group 'quota' failed with the error above.",
            "proxy",
        ),
        (
            "LiteLLM",
            400,
            "Budget has been exceeded! Current cost: 0.02, Max budget: 0.01",
            "litellm 1.108.7, proxy/auth/auth_checks.py",
        ),
    ),
    *_rows(
        "rate_limit",
        (
            "OpenAI",
            429,
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29000,"
            " Requested 2000. Please try again in 2s.",
            "platform.openai.com/docs/guides/error-codes",
        ),
        (
            "Gemini",
            429,
            "You exceeded your current quota, please check your plan and billing details. Quota exceeded for metric:"
            " generate_content_free_tier_requests, limit: 15. Please retry in 34.5s.",
            "ai.google.dev/gemini-api/docs/troubleshooting",
        ),
        (
            "Azure",
            429,
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded token rate limit of"
            " your current OpenAI S0 pricing tier. Please retry after 12 seconds.",
            "learn.microsoft.com/azure/ai-services/openai/how-to/quota",
        ),
        ("LiteLLM", 429, "litellm.RateLimitError: this is a mock rate limit error", "proxy"),
    ),
    *_rows(
        "not_found",
        (
            "OpenAI",
            404,
            "The model `gpt-99` does not exist or you do not have access to it.",
            "proxy, server behind it",
        ),
        ("Ollama", 404, "model 'deepseek-coder:6.7b' not found, try pulling it first", "ollama/ollama#4449"),
        ("DeepSeek", 400, "Model Not Exist", "deepwn/addi#13"),
        (
            "LiteLLM",
            400,
            "/chat/completions: Invalid model name passed in model=nothere. Call `/v1/models` to view available models"
            " for your key.",
            "proxy",
        ),
        (
            "LiteLLM",
            400,
            "litellm.BadRequestError: You passed in model=nonexistent-model. There are no healthy deployments for this"
            " model.",
            "BerriAI/litellm#25466",
        ),
    ),
    *_rows(
        "wrong_address",
        ("OpenAI", 404, "Invalid URL (POST /chat/completions)", "tsundereraws/aisub-translator#2"),
        (
            "LM Studio",
            200,
            "Unexpected endpoint or method. (POST /chat/completions)",
            "lmstudio-ai/lmstudio-bug-tracker#618",
        ),
        ("Ollama", 404, "404 page not found", "Go's net/http, which Ollama uses"),
        ("FastAPI", 404, "Not Found", "Starlette's routing"),
        ("nginx", 404, "<html><head><title>404 Not Found</title></head></html>", "tsundereraws/aisub-translator#2"),
        ("Azure", 404, "404 Resource not found", "learn.microsoft.com/azure/ai-services/openai/reference"),
    ),
    *_rows(
        "roles",
        (
            "OpenAI",
            400,
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "proxy, server behind it",
        ),
        ("vLLM", 400, "System role not supported", "vllm-project/vllm#2964"),
        (
            "Gemini",
            400,
            "Developer instruction is not enabled for models/gemini-2.0-flash-exp",
            "QuantumNous/new-api#989",
        ),
        (
            "vLLM",
            400,
            "After the optional system message, conversation roles must alternate user/assistant/user/assistant/...",
            "vllm-project/vllm#6862",
        ),
        (
            "Anthropic",
            400,
            'messages: roles must alternate between "user" and "assistant", but found multiple "assistant" roles in a'
            " row",
            "FlowiseAI/Flowise#2006",
        ),
        (
            "Bedrock",
            400,
            "A conversation must start with a user message.",
            "litellm 1.108.7, exception_mapping_utils.py",
        ),
    ),
    *_rows(
        "filtered",
        (
            "Azure",
            400,
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "litellm 1.108.7, exception_mapping_utils.py",
        ),
        ("DeepSeek", 400, "Content Exists Risk", "deepseek-ai/awesome-deepseek-integration#13"),
        (
            "xAI",
            403,
            "Content violates usage guidelines. Team: x, Model: grok-4-0709, Failed check: SAFETY_CHECK_TYPE_BIO",
            "UKGovernmentBEIS/inspect_ai#2267",
        ),
        (
            "OpenAI",
            400,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            "litellm 1.108.7, exception_mapping_utils.py",
        ),
        (
            "Anthropic",
            400,
            "Output blocked by content filtering policy",
            "litellm 1.108.7, exception_mapping_utils.py",
        ),
        (
            "DashScope",
            400,
            "data_inspection_failed: Input data may contain inappropriate content.",
            "help.aliyun.com/zh/model-studio/error-code",
        ),
        (
            "LiteLLM",
            400,
            "litellm.BadRequestError: OpenAIException - The response was filtered due to the prompt triggering Azure"
            " OpenAI's content management policy.",
            "proxy",
        ),
    ),
    *_rows(
        "picture_refused",
        (
            "Anthropic",
            400,
            "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6129904 bytes > 5242880 bytes",
            "mozilla-ai/clawbolt#936",
        ),
        (
            "OpenAI",
            400,
            "You uploaded an unsupported image. Please make sure your image has one of the following formats: png.",
            "platform.openai.com/docs/guides/images-vision",
        ),
        ("Bedrock", 500, "Could not process image", "litellm 1.108.7, exception_mapping_utils.py"),
        ("Google", 400, "Image too large. Please limit to 75 megapixels.", "openfoodfacts/openfoodfacts-server#10764"),
    ),
    *_rows(
        "no_pictures",
        (
            "OpenAI",
            400,
            "Invalid content type. image_url is only supported by certain models.",
            "zou-group/textgrad#210",
        ),
        ("Ollama", 400, "this model does not support image input", "ollama/ollama#17301"),
        ("OpenRouter", 404, "No endpoints found that support image input", "NousResearch/hermes-agent#23411"),
        ("Volcano Engine", 400, "Model do not support image input.", "anomalyco/opencode#47994"),
        (
            "text-only server",
            400,
            "Unsupported content part type for text-only server: image_url",
            "FlashML-org/FreeToken#348",
        ),
        (
            "llama.cpp",
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "ggml-org/llama.cpp, tools/server",
        ),
        (
            "DeepSeek",
            400,
            "Failed to deserialize the JSON body: messages[0]: unknown variant `image_url`, expected `text`",
            "api-docs.deepseek.com",
        ),
    ),
)
