"""Presses stand beside the other leaves, and nothing fails where their library is not installed."""

import importlib.util

import pytest

from unmask.cli import main
from unmask.registries import markdown, registries


def test_missing_presses_are_listed_with_their_extra(capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "kvpress" else found(name, *a))
    assert registries()["presses"].names() == [] and markdown("presses").count("\n") == 1
    with pytest.raises(SystemExit, match="0"):
        main(["list", "presses"])
    assert 'pip install "unmask[kv]"' in capsys.readouterr().out
