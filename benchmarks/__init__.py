"""How fast the data layer is, beside Chainlit's own two layers and beside the least that the work can cost.

`make bench` measures and writes `docs/benchmarks.md`. Milliseconds belong to one machine and one hour; the ratios to
the floor, measured in the same minute on the same server, are what is promised.
"""

import tests as _tests  # noqa: F401  gives Chainlit a folder of its own, before it is imported
