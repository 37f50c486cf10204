"""Run a program that a model wrote: only when asked to, in a process of its own, with little time and memory.

The limits stop runaway programs, not hostile ones: a process of the same user can still read that user's files. Run
models you do not trust in a container.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile

from unmask.core.errors import UsageError

#: exit codes that mean the last line was reached: none that programs, shells or signals use
_CODES = range(160, 224)
#: runs around the program, in its process
_LIMITS = """
import os, resource, sys
seconds, size = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (size, size))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
# read here and not from the arguments, where the program could see it
reached, leave = int(sys.stdin.readline()), os._exit
program = sys.stdin.read()
sys.argv = ["program"]
exec(compile(program, "program", "exec"), {"__name__": "__main__"})
leave(reached)
"""


def passes(program: str, seconds: int = 5, megabytes: int = 512) -> bool:
    """Whether a program reaches its end, in time, without an error.

    One that leaves before its last line (``sys.exit(0)`` above its test) does not: the process has to end with a code
    that is drawn for each run. It runs isolated (no site packages of the user, empty environment, empty working
    folder), may use ``seconds`` of CPU and twice as long by the clock, ``megabytes`` of memory, and may neither write
    files nor start processes.

    Raises:
        UsageError: limits below 1, or a system without them.
    """
    if seconds < 1 or megabytes < 1:
        raise UsageError(f"seconds={seconds} and megabytes={megabytes} must be at least 1")
    if sys.platform == "win32":
        raise UsageError("programs are executed only where the system can limit them, which Windows cannot")
    reached = secrets.choice(_CODES)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-I", "-c", _LIMITS, str(seconds), str(megabytes * 2**20)]
        try:
            done = subprocess.run(
                words,
                input=f"{reached}\n{program}".encode("utf-8", "replace"),
                cwd=folder,
                env={},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == reached
