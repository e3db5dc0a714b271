"""No secret of the server can be named as the key of a provider."""

from typing import get_args

import pytest
from pydantic import SecretStr

from threadkeeper.settings.own_variables import is_own_variable
from threadkeeper.settings.settings import Settings

SECRETS = [name.upper() for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)]


@pytest.mark.parametrize(
    "name",
    [
        *SECRETS,
        "DATABASE_URL",
        "DATABASE_READ_URL",
        "BLOB_URL",
        "OAUTH_GITHUB_CLIENT_SECRET",
        "HTTPS_PROXY",
        "all_proxy",
    ],
)
def test_a_secret_of_the_server_is_its_own(name: str) -> None:
    assert is_own_variable(name)


@pytest.mark.parametrize("name", ["LAB_KEY", "AZURE_KEY", "ANTHROPIC_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"])
def test_a_variable_of_a_provider_is_not(name: str) -> None:
    assert len(SECRETS) > 5
    assert not is_own_variable(name)
