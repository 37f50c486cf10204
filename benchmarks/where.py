"""Where a number comes from: device, versions and commit, kept beside every measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

SOURCES = ("src", "benchmarks")


def where() -> dict[str, Any]:
    """Processor, cores, threads, versions, and the commit of the sources (``+`` behind it when they were changed)."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=root).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *SOURCES)
    return {
        "device": f"CPU {names[0] if names else platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": platform.platform(),
        "commit": git("rev-parse", "--short", "HEAD") + ("+" if changed else ""),
    }


class Others:
    """How much of the machine other processes took since this was made: much, and wall times are worth little."""

    def __init__(self) -> None:
        self.start = self._spent()

    @staticmethod
    def _spent() -> tuple[float, float, float]:
        stat = Path("/proc/stat")
        busy = 0.0
        if stat.exists():
            user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
            busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4])  # children that ended too
        return time.perf_counter(), busy, own

    @property
    def share(self) -> float:
        """0 alone, 1 when others took everything; 0 where the system does not say."""
        wall, busy, own = (now - then for now, then in zip(self._spent(), self.start, strict=True))
        return max(0.0, busy - own) / (wall * (os.cpu_count() or 1))
