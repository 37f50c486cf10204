"""A tidal model through the public door: trained, loaded exactly, refused where it does not belong."""

import pytest

import unmask
from unmask import recipes
from unmask.core.errors import WrongUse
from unmask.evaluation.tidal import write
from unmask.training.recipe import parse, read_recipe

SMALL = (
    "--limit 200 --validation 0.2 --dim 32 --layers 1 --heads 2 --ffn_dim 32 --vocab_size 300 --max_steps 4 "
    "--eval_steps 2 --save_steps 2 --warmup_steps 1 --per_device_train_batch_size 8 --probe_texts 2 --eval_texts 8 "
    "--report_to none --disable_tqdm true --bf16 false --output_dir"
).split()


@pytest.mark.parametrize("name", [n for n in recipes.names() if n.startswith("tidal")])
def test_tidal_recipes_train_and_load(name, tmp_path):
    model = unmask.train(parse(read_recipe(recipes.find(name)), [*SMALL, str(tmp_path / "run")]))
    again = unmask.load(tmp_path / "run")
    assert write(again, ["1 + 2 = "], max_blocks=2).texts == write(model, ["1 + 2 = "], max_blocks=2).texts
    for call in (unmask.sample, unmask.evaluate):
        with pytest.raises(WrongUse, match="fills a canvas"):
            call(again, ["a"])
