"""Equal compute between the arms, and the page."""

import pytest

from unmask.experiments import sgdd_parts
from unmask.experiments.study import Effort


def test_every_arm_is_a_recipe():
    for arm in sgdd_parts.ARMS:
        recipe = sgdd_parts.recipe_of(arm, 1, Effort(), 40)
        assert recipe.train.seed == 1 and recipe.train.max_steps == 40 and recipe.model.length_model


def test_compute_counts_what_a_step_multiplies():
    base = sgdd_parts.recipe_of("base", 0, Effort(), 40)
    work = {arm: sgdd_parts.compute(sgdd_parts.recipe_of(arm, 0, Effort(), 40)) for arm in sgdd_parts.ARMS}
    # whitening and null vectors multiply nothing; self-conditioning adds half a forward pass to three
    assert work["no whitening"] == work["no null vectors"] == work["base"]
    assert work["AdaLN alone"] < work["base"] < work["bag of words"]
    # by hand: a token's products in the blocks (attention, feed-forward) and in the head, three passes
    m = base.model
    blocks = m.layers * (4 * m.dim**2 + 2 * m.dim * m.ffn_dim)
    least = 3 * (blocks + m.dim * m.vocab_size)
    assert least < work["base"] < 2 * least
    assert work["self-conditioning"] / work["base"] > 3.5 / 3


@pytest.fixture
def results():
    figures = {key: 0.25 for key in sgdd_parts.FIGURES}
    seeds = {s: {"parameters": 7, "steps": 3, "compute": 1.0, "figures": figures} for s in ("0", "1")}
    guided = {s: {**line, "guidance": {"1.5": {**figures, "word_recall_share": 0.75}}} for s, line in seeds.items()}
    found = {"steps": 3, "rows": 8, "texts": 5, "arms": {"base": guided, "bottleneck": seeds}}
    return {"scales": {"cpu": found}}


def test_the_page_shows_both_seeds_and_guidance(results):
    text = sgdd_parts.page(results).markdown()
    assert "| bottleneck | 1.00 | 0.250 / 0.250" in text and "| 1.5 | 0.750 / 0.750" in text


def test_the_page_stands_without_the_base(results):
    del results["scales"]["cpu"]["arms"]["base"]
    assert "Guidance" not in sgdd_parts.page(results).markdown()
