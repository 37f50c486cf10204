"""The public API on a small model trained on real verses: train, load, sample, trace, evaluate, by name and by seed."""

import json

import pytest
import torch

import unmask
from unmask import recipes
from unmask.core.errors import CheckpointError, UsageError
from unmask.decoding.order import orders
from unmask.decoding.trace import Trace
from unmask.training.recipe import parse, read_recipe

TEXTS = ["God called the light day.", "Jesus wept.", "He went up to the mountain."]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api") / "run"
    flags = (
        "--limit 400 --validation 0.2 --vocab_size 500 --length 32 --dim 32 --layers 1 --heads 2 --ffn_dim 64 "
        "--bf16 false --max_steps 30 --warmup_steps 5 --eval_steps 15 --save_steps 15 --report_to none "
        "--per_device_train_batch_size 16 --probe_texts 3 --eval_texts 8 --disable_tqdm true --output_dir"
    ).split()
    unmask.train(parse(read_recipe(recipes.find("demo")), [*flags, str(folder)]))
    return folder


@pytest.fixture(scope="module")
def model(run):
    return unmask.load(run)


def test_the_probe_ranks_checkpoints_by_what_is_written(run):
    best = json.loads((run / "unmask.json").read_text())["scores"]
    assert 0 <= best["eval_generation"] <= 1 and best["eval_nelbo"] > 0 and "eval_d_shuf" in best


def test_a_batch_writes_what_its_rows_write(model):
    together = unmask.sample(model, TEXTS, steps=6, temperature=1.0, seed=3)
    small = unmask.sample(model, TEXTS, steps=6, temperature=1.0, seed=3, batch_size=2)
    assert together.texts == small.texts and len(together.texts) == 3
    assert unmask.sample(model, TEXTS, steps=6, temperature=1.0, seed=4).texts != together.texts
    several = unmask.sample(model, TEXTS[:1], n=3, temperature=1.0, steps=6)
    assert len(several.texts) == 3


def test_settings_change_what_is_written(model):
    base = unmask.sample(model, TEXTS, steps=8, temperature=1.0, seed=1)
    for changed in (
        dict(order="random"), dict(steps=3), dict(guidance=4.0), dict(temperature=0.2), dict(top_k=3), dict(top_p=0.3),
        dict(repetition_penalty=5.0), dict(quota="linear"), dict(seed=2), dict(length=16),
    ):  # fmt: skip
        other = unmask.sample(model, TEXTS, **{**dict(steps=8, temperature=1.0, seed=1), **changed})
        same = other.sequences.shape == base.sequences.shape and torch.equal(other.sequences, base.sequences)
        assert not same, changed


def test_infilling_keeps_what_is_given(model):
    canvas = model.tokenize(["God said to Noah that he will see the day"])
    hidden = torch.zeros_like(canvas, dtype=torch.bool)
    hidden[0, 2:6] = True
    out = unmask.sample(model, TEXTS[:1], canvas=canvas.masked_fill(hidden, model.denoiser.mask_id), steps=2)
    assert torch.equal(out.sequences[~hidden], canvas[~hidden])
    assert (out.sequences != model.denoiser.mask_id).all()


def test_trace_replays_joins_batches_and_is_written(model, tmp_path):
    out = unmask.sample(model, TEXTS, steps=5, batch_size=2, trace=True)
    assert torch.equal(out.trace.replay(), out.sequences.cpu())
    out.save_trace(tmp_path / "trace.json")
    assert torch.equal(Trace.load(tmp_path / "trace.json").replay(), out.sequences.cpu())
    page = out.save_trace(tmp_path / "trace.html").read_text(encoding="utf-8")
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")
    with pytest.raises(UsageError, match="trace=True"):
        unmask.sample(model, TEXTS, steps=2).save_trace(tmp_path / "x.html")
    with pytest.raises(UsageError, match="html or .json"):
        out.save_trace(tmp_path / "x.gif")


def test_an_order_from_outside_works_by_name(model):
    """The page docs/extending.md, run as it stands."""
    code = (recipes.FOLDER.parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    exec(code.split("```python")[1].split("```")[0], {"__name__": "newcomer"})
    try:
        out = unmask.sample(model, TEXTS[:1], order="right_to_left", quota="one", steps=None, trace=True)
        first = [
            p
            for s, p in sorted(
                zip(out.trace.events["step"].tolist(), out.trace.events["position"].tolist(), strict=True)
            )
        ]
        assert first == list(range(31, -1, -1))
    finally:
        orders.unregister("right_to_left")


def test_evaluate_is_complete_and_saved(model, tmp_path):
    result = unmask.evaluate(model, texts=60, steps=4, samples=1)
    found = result.metrics
    for key in (
        "nelbo_bits_per_token", "perplexity_bound_per_token", "loss_r1_nats_per_token", "accuracy_r1_share",
        "d_shuffled_r1_nats_per_token", "d_null_r1_nats_per_token", "exact_match_share", "token_accuracy_share",
        "word_recall_share", "bleu_0_to_100", "length_mean_tokens",
    ):  # fmt: skip
        assert key in found, (key, sorted(found))
    assert "gen_ppl" in result.not_measured and "mauve" in result.not_measured
    assert len(result.tables()) >= 4
    result.save(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == found
    assert "iframe" in (tmp_path / "report.html").read_text(encoding="utf-8")
    given = unmask.evaluate(model, TEXTS, steps=4, samples=1, trace=False)
    assert given.metrics["texts"] == 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: unmask.sample(m, "one text"), "must be a list"),
        (lambda m: unmask.sample(m, []), "texts is empty"),
        (lambda m: unmask.sample(m, TEXTS, n=0), "n=0"),
        (lambda m: unmask.sample(m, TEXTS, order="margn"), "did you mean 'margin'"),
        (lambda m: unmask.sample(m, TEXTS, length=99), "length=99"),
        (lambda m: unmask.sample(m, TEXTS, length=0), "length=0"),
        (lambda m: unmask.sample(m, TEXTS, precision="fp61"), "precision='fp61'"),
        (lambda m: unmask.evaluate(m, texts=0), "texts=0"),
        (lambda m: unmask.evaluate(m, "no_such_corpus.txt"), "there is no file"),
        (lambda m: unmask.load("no/such/folder"), "there is no model folder"),
        (lambda m: unmask.load(m.path, device="gpu"), "device='gpu' is not one"),
    ],
)
def test_wrong_use_is_one_sentence(model, call, said):
    with pytest.raises(UsageError, match=said):
        call(model)


def test_damaged_folders_are_refused_with_the_reason(run, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    def damaged(name, spoil):
        folder = tmp_path / name
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoint-*", ".staging", "runs"))
        spoil(folder)
        return folder

    def drop(folder):
        state = load_file(str(folder / "model.safetensors"))
        state.pop("norm.weight")
        state["stranger"] = torch.zeros(1)
        save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})

    def cut(folder):
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])

    def pickle(folder):
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")

    def card(folder):
        (folder / "unmask.json").write_text("{")

    def flip(folder):
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-100] ^= 1  # one bit of one weight: everything still fits
        (folder / "model.safetensors").write_bytes(data)

    def other_words(folder):
        tree = json.loads((folder / "tokenizer.json").read_text())
        words = tree["model"]["vocab"]
        first, second = sorted(words, key=words.get)[-2:]
        words[first], words[second] = words[second], words[first]
        (folder / "tokenizer.json").write_text(json.dumps(tree))

    for name, spoil, said in (
        ("flip", flip, "model.safetensors is not what was saved"),
        ("other words", other_words, "tokenizer.json is not what was saved"),
        ("drop", drop, "missing: norm.weight; unexpected: stranger"),
        ("cut", cut, "cannot be read"),
        ("pickle", pickle, "is a pickle, which is not read"),
        ("card", card, "cannot be read"),
        ("no card", lambda f: (f / "unmask.json").unlink(), "is a run that has not finished"),
    ):
        with pytest.raises(CheckpointError, match=said):
            unmask.load(damaged(name, spoil))


def test_half_precision_copies_load_and_stay_close(model, tmp_path):
    model.save(tmp_path / "small", dtype=torch.bfloat16)
    again = unmask.load(tmp_path / "small")
    model.save(tmp_path / "whole")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "small")]
    assert sizes[0] - sizes[1] == pytest.approx(2 * sum(p.numel() for p in model.denoiser.parameters()), rel=0.01)
    x = model.tokenize(TEXTS)
    x[:, ::2] = model.denoiser.mask_id
    cond = model.condition(TEXTS)
    mine, theirs = (m.denoiser.logits(x, cond=cond)[:, 3:] for m in (model, again))
    assert next(again.denoiser.parameters()).dtype == torch.float32
    torch.testing.assert_close(theirs, mine, atol=0.05, rtol=0.05)
