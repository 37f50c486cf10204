"""The studies at a tiny size: every arm runs, is measured with the same ruler, and the counts are those of a run."""

import json

import pytest

from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.experiments import tidal_arithmetic, tidal_cost, tidal_text
from unmask.experiments.tidal_page import publish
from unmask.models.tidal_text import load_tidal

TEXT = " ".join(["In the beginning God created the heavens and the earth, 12 days before."] * 12)
TINY = ["--dim", "16", "--layers", "1", "--heads", "2", "--ffn_dim", "16", "--max_steps", "2", "--eval_steps", "2",
        "--save_steps", "2", "--limit", "120", "--vocab_size", "300", "--per_device_train_batch_size", "8",
        "--eval_texts", "4", "--report_to", "none", "--disable_tqdm", "true", "--validation", "0.2"]  # fmt: skip


@pytest.mark.parametrize("way", list(tidal_cost.WAYS))
def test_closed_form_of_the_pairs_is_what_a_run_computes(way):
    tokenizer = MixedTokenizer.train([TEXT], 330, max_block=16)
    rows = tidal_cost.cost_table(tokenizer, TEXT, [40, 90], written=50, dim=8, layers=1, heads=1, ffn_dim=8)
    mine = [row for row in rows if row["way"] == way]
    assert len(mine) == 2 and all(row["pairs a character"] == row["counted in the run"] > 0 for row in mine)
    assert all(row["CPU ms a character"] > 0 for row in mine)


def test_attention_both_ways_costs_more_on_long_texts():
    tokenizer = MixedTokenizer.train([TEXT], 330, max_block=16)
    prompt = TEXT[: TEXT.index(" ", 600)]
    text = TEXT[len(prompt) : TEXT.index(" ", len(prompt) + 60)]
    each = {way: tidal_cost.pairs(tokenizer, prompt, text, way) for way in tidal_cost.WAYS}
    assert each["tidal, causal prefix"] < each["characters"] < each["tidal"]
    assert each["bpe"] < each["tidal, causal prefix"]


def test_arithmetic_arms_have_the_same_size(tmp_path):
    found = tidal_arithmetic.run(tmp_path, flags=TINY, probe=4, say=lambda _: None)
    assert set(found) == set(tidal_arithmetic.ARMS) == set(json.loads((tmp_path / "results.json").read_text()))
    sizes = [arm["parameters"] for arm in found.values()]
    # the head's bias is longer where tokens are written; all else is equal
    assert found["reversed"]["parameters"] == found["forward"]["parameters"] and max(sizes) < 1.1 * min(sizes)
    for arm in found.values():
        sums = arm["held-out sums"]
        assert sums["problems"] == 12 and sums["low"] <= sums["exact"] <= sums["high"]
    kept = tidal_arithmetic.run(tmp_path, arms=["forward"], flags=TINY, probe=4, say=lambda _: None)
    assert list(kept) == list(found) and kept["bpe"] == json.loads(json.dumps(found["bpe"]))
    # a finished arm is measured again; how it got there is not forgotten
    again, before = kept["forward"], found["forward"]
    assert again["curve"] == before["curve"] != [] and again["seconds"] == before["seconds"] > 0
    page = publish("tidal_arithmetic", kept, tidal_arithmetic.page, tmp_path / "n", tmp_path / "p").read_text()
    assert all(f"| {arm} |" in page for arm in tidal_arithmetic.ARMS)
    assert (tmp_path / "p/img/tidal_arithmetic.svg").read_text().count("<path") > 4
    assert load_tidal(tmp_path / "forward").tokenizer.reverse is False
    assert load_tidal(tmp_path / "bpe").denoiser.config.writes == "tokens"


def test_text_study_gives_every_arm_the_same_compute(tmp_path):
    flags = [*TINY, "--max_steps", "12", "--eval_steps", "100", "--save_steps", "100"]
    found = tidal_text.run(tmp_path, flags=flags, texts=6, samples=2, say=lambda _: None)
    budget = found["tidal"]["forward multiply-adds"]
    for arm in tidal_text.ARMS:
        spent, steps = found[arm]["forward multiply-adds"], found[arm]["steps"]
        assert abs(spent - budget) <= 0.51 * spent / steps  # to the nearest step
        assert 1 < found[arm]["bits_per_character"] < 40 and len(found[arm]["samples"]) == 2
        assert found[arm]["verses"] == 6
    assert found["characters"]["parameters"] == found["tidal"]["parameters"]
    assert {row["way"] for row in found["attention"]} == set(tidal_cost.WAYS)
    page = publish("tidal_text", found, tidal_text.page, tmp_path / "n", tmp_path / "p").read_text()
    assert f"{found['tidal']['bits_per_character']:.3f}" in page and "img/tidal_cost.svg" in page
