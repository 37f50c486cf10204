"""What the benchmark of the diagnosis counts, and that it goes on where it was stopped."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("benchmark_of_diagnosis", BENCHMARKS / "diagnosis.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCHMARKS))


def line(key: str, fault: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "model": "sgdd", "fault": fault, "budget": "quick", "check": "guidance", "causes": []} | more


def test_named_first_top_three_and_missed(bench: ModuleType) -> None:
    lines = [
        line("a", "strong_guidance", causes=["guidance", "length"]),
        line("b", "strong_guidance", causes=["length", "guidance"]),
        line("c", "strong_guidance", causes=["length", "order", "frontier", "guidance"]),
        line("d", "strong_guidance", error="Traceback"),
        line("e", "strong_guidance", cannot="it has none"),
        line("f", "", status="warn"),
        line("g", "", status="fail"),
        line("h", "", error="Traceback"),
    ]
    found = bench.summary(lines)
    assert (found["planted"], found["named_first"], found["named_in_top_three"]) == (4, 0.25, 0.5)
    # a healthy model that could not be diagnosed is no success either
    assert (found["healthy"], found["false_alarms"], found["warnings"], found["cannot_be_planted"]) == (3, 2, 1, 1)
    assert list(bench.table(lines))[2] == "| strong_guidance | guidance | 4 | 1 | 2 | error, length |"


def test_a_line_that_was_cut_off_is_done_again(bench: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    assert bench.read(file) == []
    whole = [line("a", ""), line("b", "")]
    file.write_text("\n".join(json.dumps(x) for x in whole) + '\n{"key": "c", "mod', encoding="utf-8")
    assert [x["key"] for x in bench.read(file)] == ["a", "b"]


def test_read_takes_lines_of_0_1_0(bench: ModuleType, tmp_path: Path) -> None:
    new = line("a", "strong_guidance", causes=["guidance"])
    old = {"lesion" if k == "fault" else k: v for k, v in new.items()}
    (tmp_path / "results.jsonl").write_text(json.dumps(old) + "\n", encoding="utf-8")
    assert bench.read(tmp_path / "results.jsonl") == [new]


def test_faults_go_to_the_models_they_fit(bench: ModuleType) -> None:
    chosen = ["strong_guidance", "late_loss", "low_mask_training", "off_by_one"]
    words = type("Words", (), {"faults": chosen, "healthy": False})
    names = {
        kind: [cell.fault for cell in bench.cells(bench.Model(kind, 64, 0), words)]
        for kind in ("sgdd", "plain", "causal")
    }
    assert names["sgdd"] == ["low_mask_training", "strong_guidance", "off_by_one"]  # trained faults first
    assert names["plain"] == ["low_mask_training", "off_by_one"] and names["causal"] == ["late_loss"]


def test_the_page_keeps_its_words_around_the_numbers(bench: ModuleType) -> None:
    text = "before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n"
    lines = [line("a", "strong_guidance", causes=["guidance"], cpu="some CPU", torch="2", commit="c")]
    page = bench.page(text, lines)
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "100.0% named first" in page and "some CPU, torch 2, commit c" in page
    assert bench.page(page, lines) == page
    alone = type("Words", (), {"faults": None, "healthy": True})
    assert {cell.fault for cell in bench.cells(bench.Model("sgdd", 64, 0), alone)} == {""}
