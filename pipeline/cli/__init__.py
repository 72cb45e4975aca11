"""The command `rastersources`."""

import gc

gc.set_threshold(100_000)  # garbage collection took a quarter of the start of a command
