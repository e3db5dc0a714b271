"""What went wrong with a connection, in the words of `FetchFailed`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from threadkeeper.knowledge.fetching.addresses import AddressRefused
from threadkeeper.knowledge.fetching.base import FetchFailed
from threadkeeper.knowledge.fetching.places import shown

logger = logging.getLogger(__name__)


@contextmanager
def told_failures(address: URL) -> Iterator[None]:
    """Raise FetchFailed in place of the errors of a request to this address."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError:
        raise FetchFailed("certificate", host=address.host) from None
    except aiohttp.ClientConnectorError as error:
        is_refused = isinstance(error.os_error, AddressRefused)
        raise FetchFailed("private" if is_refused else "unreachable", host=address.host) from error
    except aiohttp.InvalidURL:
        raise FetchFailed("address", address=shown(address)) from None
    except TimeoutError:
        raise FetchFailed("timeout", host=address.host) from None
    except (aiohttp.ClientError, OSError) as error:
        # The text of such an error has the whole address.
        said = error.message if isinstance(error, aiohttp.ClientResponseError) else error
        logger.info("a request to %s failed: %s: %s", address.origin(), type(error).__name__, said)
        raise FetchFailed("unreachable", host=address.host) from error
