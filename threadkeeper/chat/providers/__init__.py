"""The models: OpenAI and servers with its protocol, Azure OpenAI, and the demo. `create_model` picks one."""

from importlib.metadata import version
from urllib.parse import urlsplit

from threadkeeper.chat.model import Model, Source
from threadkeeper.chat.providers.deferred import DeferredModel
from threadkeeper.chat.providers.endings import SentEndings, never_sent

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
    sent_endings: SentEndings = never_sent,
    embeds: bool = False,
) -> Model:
    """Azure OpenAI if `azure_endpoint` is given, else the server at `base_url` or OpenAI; the demo without any of them.

    Args:
        api_key: key of OpenAI, or of the server at `base_url` if it wants one.
        base_url: address of a server that speaks OpenAI's protocol.
        azure_endpoint: `https://NAME.openai.azure.com`.
        azure_api_key: key of Azure OpenAI.
        azure_api_version: version of Azure's interface; AZURE_API_VERSION if not given.
        timeout_seconds: the longest wait for a connection, for the first chunk, and between two chunks; and the time
            after the first attempt in which others can begin.
        max_retries: how often a request that failed is sent again.
        sent_endings: what earlier processes know of the ends of a provider's answers.
        embeds: whether the model embeds texts (`chat.embeddings`) and answers no questions.

    The client package is imported when the model is loaded or first asked.
    """
    if not (azure_endpoint or api_key or base_url):
        from threadkeeper.chat.providers.demo import DemoModel  # noqa: PLC0415

        return DemoModel()

    def make() -> Model:
        from threadkeeper.chat.providers.openai import OpenAIModel, azure_client, openai_client  # noqa: PLC0415

        if azure_endpoint:
            api_version = azure_api_version or AZURE_API_VERSION
            client = azure_client(azure_endpoint, azure_api_key, api_version, timeout_seconds, max_retries)
        else:
            client = openai_client(base_url or OPENAI_BASE_URL, api_key, timeout_seconds, max_retries)
        if embeds:
            from threadkeeper.chat.providers.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415

            return OpenAIEmbeddings(client, source, sent_endings)
        return OpenAIModel(client, source, sent_endings)

    source = _azure_source(azure_endpoint) if azure_endpoint else _source(base_url or OPENAI_BASE_URL)
    return DeferredModel(source, make)


def _azure_source(endpoint: str) -> Source:
    return Source("azure", f"{endpoint.rstrip('/')}/openai/", _library(), has_deployments=True)


def provider_name(base_url: str) -> str:
    """The name of the provider at an address: "openai", "azure", or the host, as prices and calls have it."""
    host = (urlsplit(base_url).hostname or base_url).lower()
    names = {".openai.com": "openai", ".azure.com": "azure"}
    return next((name for ending, name in names.items() if host.endswith(ending)), host)


def _source(base_url: str) -> Source:
    return Source(provider_name(base_url), f"{base_url.rstrip('/')}/", _library())


def _library() -> str:
    return f"openai {version('openai')}"
