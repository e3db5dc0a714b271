"""Each setting of a file store is passed to it."""

from pathlib import Path

import pytest

import datalayer
import threadkeeper.factories
from datalayer.blobs import BlobOptions, BlobStore, LocalBlobs
from threadkeeper.factories import open_blobs
from threadkeeper.settings.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_folder_is_the_default(tmp_path: Path) -> None:
    store = open_blobs(load_settings())
    assert isinstance(store, LocalBlobs)
    assert store.folder == tmp_path / ".data" / "files"


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ("AZURE_STORAGE_CONNECTION_STRING", "azure_connection_string"),
        ("AZURE_STORAGE_KEY", "azure_key"),
        ("AZURE_STORAGE_SAS", "azure_sas"),
        ("AZURE_STORAGE_ENDPOINT", "azure_endpoint"),
        ("S3_ENDPOINT_URL", "s3_endpoint"),
        ("AWS_REGION", "s3_region"),
        ("AWS_ACCESS_KEY_ID", "s3_access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "s3_secret_access_key"),
        ("AWS_SESSION_TOKEN", "s3_session_token"),
    ],
)
def test_each_variable_sets_its_option(monkeypatch: pytest.MonkeyPatch, variable: str, option: str) -> None:
    opened: list[tuple[str, BlobOptions | None]] = []

    def open_blob_store(url: str, options: BlobOptions | None = None) -> BlobStore:
        opened.append((url, options))
        return datalayer.open_blob_store("file:///nowhere")

    monkeypatch.setattr(threadkeeper.factories, "open_blob_store", open_blob_store)
    value = "https://store.example" if "ENDPOINT" in variable else "x1"
    monkeypatch.setenv("BLOB_URL", "s3://bucket")
    monkeypatch.setenv(variable, value)
    open_blobs(load_settings())
    assert opened == [("s3://bucket", BlobOptions(**{option: value}))]  # type: ignore[arg-type]


def test_two_credentials_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOB_URL", "azure://account/container")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "aHVudGVyMg==")
    monkeypatch.setenv("AZURE_STORAGE_SAS", "sig=hunter2")
    with pytest.raises(datalayer.ConfigurationError, match="one of") as caught:
        open_blobs(load_settings())
    assert "hunter2" not in str(caught.value)
