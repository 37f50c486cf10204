"""lm-eval runs a local task on a model of ours, and its numbers are the ones that theory gives."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

from adapted import native
from oracles import JointDenoiser
from unmask.core.errors import UsageError
from unmask.data.tokenizer import train_bpe
from unmask.evaluation.lm_eval_model import UnmaskLM, main
from unmask.families.masked import MaskedText, answers
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModelCard

LETTERS = "abc"


class Spelling:
    """A tokenizer of three letters; the mask has id 3."""

    eos_token_id = None
    all_special_ids = [3]
    chat_template = None

    def __call__(self, text: str, **kwargs: Any) -> dict[str, list[int]]:
        return {"input_ids": [LETTERS.index(letter) for letter in text]}

    def batch_decode(self, rows: list[list[int]], **kwargs: Any) -> list[str]:
        return ["".join(LETTERS[i] for i in row) for row in rows]


class OnCpu(MaskedText):
    device = torch.device("cpu")  # type: ignore[assignment]


def exact(length: int = 3) -> tuple[UnmaskLM, torch.Tensor]:
    """A denoiser that knows every conditional of a random joint, so every number has a closed form."""
    g = torch.Generator().manual_seed(3)
    joint = torch.rand(*[3] * length, generator=g, dtype=torch.float64)
    joint = joint / joint.sum()
    model = OnCpu(JointDenoiser(joint), Spelling(), TextModelCard(length=length))
    model.denoiser.max_length = length
    return UnmaskLM(model, samples=512, batch_size=256), joint


def asked(*args: Any) -> Any:
    return SimpleNamespace(args=args)


def bound_of(joint: torch.Tensor, ids: list[int], hidden: list[int]) -> float:
    """Sum over n of 1/n times the mean over sets of n hidden places of the sum of log p(place | visible)."""
    total = 0.0
    for n in range(1, len(hidden) + 1):
        sets = list(itertools.combinations(hidden, n))
        for chosen in sets:
            index = tuple(slice(None) if i in chosen else token for i, token in enumerate(ids))
            rest = joint[index]
            for place in chosen:
                axis = sorted(chosen).index(place)
                marginal = rest.sum([a for a in range(rest.ndim) if a != axis]) if rest.ndim > 1 else rest
                total += math.log(marginal[ids[place]] / marginal.sum()) / n / len(sets)
    return total


def test_one_hidden_token_is_scored_exactly() -> None:
    lm, joint = exact()
    (value, greedy), (other, best) = lm.loglikelihood([asked("ab", "c"), asked("ab", "a")], disable_tqdm=True)
    row = joint[0, 1] / joint[0, 1].sum()
    assert value == pytest.approx(math.log(row[2]), abs=1e-5)
    assert other == pytest.approx(math.log(row[0]), abs=1e-5)
    assert (greedy, best) == (int(row.argmax()) == 2, int(row.argmax()) == 0)


def test_several_hidden_tokens_are_bounded() -> None:
    lm, joint = exact()
    value, _ = lm.loglikelihood([asked("a", "cb")], disable_tqdm=True)[0]
    assert value == pytest.approx(bound_of(joint, [0, 2, 1], [1, 2]), abs=0.03)
    whole = lm.loglikelihood_rolling([asked("acb")], disable_tqdm=True)[0]
    assert whole == pytest.approx(bound_of(joint, [0, 2, 1], [0, 1, 2]), abs=0.06)
    # conditionals of one joint: the bound's mean over orders is the log-likelihood itself
    assert whole == pytest.approx(math.log(joint[0, 2, 1]), abs=0.06)


def test_numbers_do_not_depend_on_neighbours() -> None:
    lm, _ = exact()
    together = lm.loglikelihood([asked("a", "cb"), asked("b", "ac")], disable_tqdm=True)
    assert together[1] == lm.loglikelihood([asked("b", "ac")], disable_tqdm=True)[0]


@pytest.fixture(scope="module")
def tiny() -> MaskedText:
    words = train_bpe(["the river runs to the sea", "is it so? yes no"], 280)
    torch.manual_seed(0)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(vocab_size=len(words), max_position_embeddings=32, dim=16, layers=1, heads=2, ffn_dim=24)
    )
    return MaskedText(net.eval(), words, TextModelCard(length=32))


def test_a_long_text_is_scored_in_pieces_once(tiny: MaskedText, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = UnmaskLM(tiny, samples=2)
    seen: list[tuple[int, int]] = []

    def score(model: Any, before: list[int], after: list[int], *how: int) -> float:
        seen.append((len(before), len(after)))
        return -1.0

    monkeypatch.setattr(answers, "_bound", score)
    ids = tiny.tokenizer("the river " * 12, add_special_tokens=False)["input_ids"]
    assert lm.loglikelihood_rolling([asked("the river " * 12)], disable_tqdm=True) == [-float(len(seen))]
    assert sum(after for _, after in seen) == len(ids) > 32
    assert all(before + after == 32 for before, after in seen)


def test_answers_are_cut_and_seeded(tiny: MaskedText) -> None:
    lm = UnmaskLM(tiny, steps=4)
    settings = {"until": [], "max_gen_toks": 8, "temperature": 1.0}
    whole, again = lm.generate_until([asked("the river", settings)] * 2, disable_tqdm=True)
    assert whole == again and whole
    stop = whole[len(whole) // 2]
    cut = lm.generate_until([asked("the river", settings | {"until": stop})], disable_tqdm=True)[0]
    assert cut == whole.split(stop)[0]
    with pytest.raises(UsageError, match="has no token"):
        lm.loglikelihood([asked("the", "")], disable_tqdm=True)
    with pytest.raises(UsageError, match="batch_size='auto'"):
        UnmaskLM(tiny, batch_size="auto")


ROWS = [{"question": f"the river {i}", "choices": [" yes", " no"], "answer": i % 2} for i in range(3)]
CHOOSE = """
output_type: multiple_choice
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}]
"""
WRITE = """
output_type: generate_until
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["qq"], max_gen_toks: 6}
metric_list: [{metric: exact_match}]
"""


def local_task(folder: Path, name: str, kind: str) -> None:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    head = f'task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: "{folder / "rows.jsonl"}"}}}}\n'
    (folder / f"{name}.yaml").write_text(head + 'test_split: test\ndoc_to_text: "{{question}}"' + kind)


def test_lm_eval_runs_a_local_task(tiny: MaskedText, tmp_path: Path) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    rows = ROWS
    local_task(tmp_path, "river", CHOOSE)
    lm = UnmaskLM(tiny, samples=4)
    found = lm_eval.simple_evaluate(
        model=lm, tasks=["river"], task_manager=TaskManager(include_path=str(tmp_path)), bootstrap_iters=0
    )
    want = [
        max(range(2), key=lambda k: lm.loglikelihood([asked(r["question"], r["choices"][k])], True)[0][0]) for r in rows
    ]
    right = sum(w == r["answer"] for w, r in zip(want, rows, strict=True)) / len(rows)
    assert found["results"]["river"]["acc,none"] == pytest.approx(right)


def test_the_command_scores_and_writes_with_an_adapted_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from the shell: lm-eval's own command asks for cuda:0 where nobody chose a device."""
    folder = native(tmp_path / "llada", "llada")
    local_task(tmp_path, "river", CHOOSE)
    local_task(tmp_path, "answer", WRITE)
    settings = f"pretrained={folder},samples=2,block_length=3,cache=dual,max_gen_toks=6"
    words = ["lm-eval", "--model", "unmask", "--model_args", settings, "--tasks", "river,answer", "--include_path"]
    words += [str(tmp_path), "--batch_size", "4", "--apply_chat_template", "--log_samples", "--output_path"]
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "out")])
    main()
    assert "|answer" in capsys.readouterr().out
    (scores,) = (tmp_path / "out").rglob("results_*.json")
    assert set(json.loads(scores.read_text())["results"]) == {"river", "answer"}
    (log,) = (tmp_path / "out").rglob("samples_answer_*.jsonl")
    lm = UnmaskLM(str(folder), device="cpu", samples=2, block_length=3, cache="dual")
    for line, row in zip(log.read_text().splitlines(), ROWS, strict=True):
        sample = json.loads(line)
        context = f"<|user|>{row['question']}<|assistant|>"
        assert sample["arguments"]["gen_args_0"]["arg_0"] == context
        assert sample["resps"] == [[lm.write(context, 6, 0.0).split("qq")[0]]]
