"""A tidal model through the public door: trained, loaded exactly, sampled, scored and diagnosed."""

import json

import pytest

import unmask
from unmask import recipes
from unmask.core.errors import UsageError
from unmask.data.tidal.mixed_tokenizer import EOS
from unmask.evaluation.tidal import write
from unmask.reporting.evaluation import tidal_grids
from unmask.training.recipe import parse, read_recipe

SMALL = (
    "--limit 200 --validation 0.2 --dim 32 --layers 1 --heads 2 --ffn_dim 32 --vocab_size 300 --max_steps 4 "
    "--eval_steps 2 --save_steps 2 --warmup_steps 1 --per_device_train_batch_size 8 --probe_texts 2 --eval_texts 8 "
    "--report_to none --disable_tqdm true --bf16 false --output_dir"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Recipe -> the folder of a run of four steps, and what training returned."""
    made = {}

    def run(name, *flags):
        if (name, flags) not in made:
            folder = tmp_path_factory.mktemp("run")
            model = unmask.train(parse(read_recipe(recipes.find(name)), [*flags, *SMALL, str(folder)]))
            made[name, flags] = folder, model
        return made[name, flags]

    return run


@pytest.mark.parametrize("name", [n for n in recipes.names() if n.startswith("tidal")])
def test_tidal_recipes_train_and_load(name, trained):
    folder, model = trained(name)
    again = unmask.load(folder)
    wanted = write(model, ["1 + 2 = "], max_blocks=2).texts
    assert unmask.sample(again, ["1 + 2 = "], length=2).texts == wanted


def test_samples_keep_trace_and_attention(trained, tmp_path):
    model = unmask.load(trained("tidal_arithmetic")[0])
    seen = []
    out = unmask.sample(model, ["1 + 2 =", "3 + 4 ="], n=2, length=2, seed=3, callback=seen.append)
    assert out.prompts == ["1 + 2 ="] * 2 + ["3 + 4 ="] * 2 and seen == out.trace.events
    alone = unmask.sample(model, ["1 + 2 =", "3 + 4 ="], n=2, length=2, seed=3, batch_size=1)
    assert out.texts[:1] == alone.texts[:1]
    rows = json.loads(out.save_trace(tmp_path / "t.json").read_text())
    assert "".join(r["block"] for r in rows if r["row"] == 0) == out.texts[0]
    assert "drawn" in out.save_trace(tmp_path / "t.html").read_text()
    page = out.save_attention(tmp_path / "a.html", row=1).read_text()
    assert page.count("<figure>") == model.denoiser.config.layers * model.denoiser.config.heads
    with pytest.raises(UsageError, match="no block 7"):
        out.save_attention(tmp_path / "a.html", number=7)


def test_what_has_no_effect_is_refused(trained):
    model = unmask.load(trained("tidal_arithmetic")[0])
    for setting in ({"guidance": 3.0}, {"block_length": 4}, {"repetition_penalty": 1.2}, {"order": "margin"}):
        with pytest.raises(UsageError, match=f"{next(iter(setting))}(=.*)? has no effect"):
            unmask.sample(model, ["1 + 2 ="], **setting)
    with pytest.raises(UsageError, match="must be a list"):
        unmask.sample(model, "1 + 2 =")


@pytest.mark.parametrize("flags", [(), ("--attention", "masked"), ("--attention", "causal", "--writes", "tokens")])
def test_evaluation_measures_bits_and_exact_answers(flags, trained, tmp_path):
    model = unmask.load(trained("tidal_arithmetic", *flags)[0])
    found = unmask.evaluate(model, texts=6)
    assert found.texts == 6 and 0 <= found.metrics["exact_with_end_share"] <= 1
    # hardly trained: about as many bits as a uniform draw among the ids that can be written costs
    assert 4 < found.metrics["bits_per_character"] < 40
    found.save(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == found.metrics
    assert len(list(found.tables())) == len(tidal_grids(found))


@pytest.mark.parametrize("name", ["tidal_arithmetic", "tidal_verses"])
def test_diagnosis_runs_on_the_models_own_data(name, trained):
    verdict = unmask.diagnose(unmask.load(trained(name)[0]), only=["weights", "vocabulary", "train_inference", "cache"])
    assert {f.check: f.status for f in verdict.findings} == dict.fromkeys(
        ("weights", "vocabulary", "train_inference", "cache"), "pass"
    ), [f.measured for f in verdict.findings]


def test_counts_and_names_that_do_not_fit(trained, tmp_path):
    from unmask.models.export import export

    model = unmask.load(trained("tidal_arithmetic")[0])
    for call, said in (
        (lambda: unmask.evaluate(model, texts=0), "texts=0"),
        (lambda: unmask.sample(model, ["1 + 1 ="], precision="fp61"), "precision='fp61'"),
        (lambda: export(model, tmp_path / "out"), "a tidal model has no export"),
    ):
        with pytest.raises(UsageError, match=said):
            call()


def test_a_plain_baseline_writes_as_many_ids_as_it_is_told(trained):
    model = unmask.load(trained("tidal_arithmetic", "--attention", "causal", "--writes", "characters")[0])
    for length in (3, 9):
        found = unmask.sample(model, ["12 + 5 ="] * 4, length=length, temperature=1.0, n=1)
        assert max(len(event.ids) for event in found.trace) <= length + 1
        assert [event.ended for event in found.trace] == [EOS in event.ids for event in found.trace]
