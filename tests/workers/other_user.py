"""Runs Python as nobody, as a container would."""

from __future__ import annotations

import subprocess


def run_as_nobody(program: str) -> str:
    """What ``program`` prints as user 65534; without the virtual environment, which nobody may not reach."""
    command = ["/usr/bin/env", "-i", "python3", "-c", program]
    done = subprocess.run(
        command, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
