"""The command that makes schedules elsewhere; `up` serves those of its own."""

import subprocess
import sys

from pipeline.cli.options import DEFAULT_CONFIG, ConfigFile, Create, Pool


def deploy(
    pool: Pool,
    config: ConfigFile = DEFAULT_CONFIG,
    create: Create = False,
) -> None:
    """Make the schedules of a sources.toml on the Prefect server of PREFECT_API_URL, for the workers of a pool.

    Those of definitions that left the file are removed; others are left alone.
    """
    # In a process of its own: the command line imports no Prefect, which takes seconds.
    command = [sys.executable, "-m", "flows", "deploy", "--pool", pool, "--config", str(config)]
    done = subprocess.run(command + (["--create"] if create else []), check=False)
    raise SystemExit(done.returncode)
