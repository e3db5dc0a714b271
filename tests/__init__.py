"""Chainlit reads CHAINLIT_APP_ROOT once, at its import, and writes there: for the tests never into the repository."""

import os
import tempfile

chainlit_root = tempfile.TemporaryDirectory(prefix="threadkeeper-chainlit-")
os.environ["CHAINLIT_APP_ROOT"] = chainlit_root.name
