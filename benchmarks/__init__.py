"""Benchmarks of the data layer, compared with Chainlit's two layers and with hand-written SQL (the floor).

`make bench` measures and writes `docs/benchmarks.md`. Milliseconds depend on the machine and the hour. The budgets are
ratios to the floor, measured at the same time on the same server.

`measure` contains the measurements that depend on the size of the history. Each other measurement is a module whose
`section` returns a `sections.Section`: its part of the page, and its rows of the table of budgets. `run` lists them.
"""

import tests as _tests  # noqa: F401  gives Chainlit a folder of its own, before it is imported
