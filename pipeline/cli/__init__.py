"""The command `rastersources`."""

import gc

gc.set_threshold(100_000)  # the search for cycles took a quarter of the start of a command
