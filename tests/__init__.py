"""Before Chainlit is imported.

It reads CHAINLIT_APP_ROOT once, at its import, and writes there: for the tests never into the repository. Half of the
time of its import is that of a package which nothing calls; `threadkeeper serve` leaves it out too."""

import os
import tempfile

from threadkeeper.chainlit_imports import put_traceloop

chainlit_root = tempfile.TemporaryDirectory(prefix="threadkeeper-chainlit-")
os.environ["CHAINLIT_APP_ROOT"] = chainlit_root.name
put_traceloop()
