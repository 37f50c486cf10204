"""Where a number comes from: device, versions and commit, kept beside every measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
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
