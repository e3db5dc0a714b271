"""The model servers: OpenAI and what speaks its protocol, Azure OpenAI, and the demo. `create_model` picks one."""

from threadkeeper.chat.model import Model

OPENAI_BASE_URL = "https://api.openai.com/v1"
AZURE_API_VERSION = "2024-10-21"


def create_model(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    azure_endpoint: str | None = None,
    azure_api_key: str | None = None,
    azure_api_version: str | None = None,
    timeout_seconds: float = 60.0,
    max_retries: int = 2,
) -> Model:
    """Azure OpenAI if `azure_endpoint` is given, else the server at `base_url` or OpenAI; the demo without any of them.

    Args:
        api_key: key of OpenAI, or of the server at `base_url` if it wants one.
        base_url: address of a server that speaks OpenAI's protocol.
        azure_endpoint: `https://NAME.openai.azure.com`.
        azure_api_key: key of Azure OpenAI.
        azure_api_version: version of Azure's interface; AZURE_API_VERSION if not given.
        timeout_seconds: the longest wait for a connection, for the first chunk, and between two chunks.
        max_retries: how often a request that failed is sent again.
    """
    # The openai package takes half a second to import: the demo does without.
    if azure_endpoint or api_key or base_url:
        from threadkeeper.chat.providers.openai import OpenAIModel, azure_client, openai_client  # noqa: PLC0415

        if azure_endpoint:
            version = azure_api_version or AZURE_API_VERSION
            client = azure_client(azure_endpoint, azure_api_key, version, timeout_seconds, max_retries)
        else:
            client = openai_client(base_url or OPENAI_BASE_URL, api_key, timeout_seconds, max_retries)
        return OpenAIModel(client)

    from threadkeeper.chat.providers.demo import DemoModel  # noqa: PLC0415

    return DemoModel()
