"""Every recipe that ships is run for a few steps, as written but for its size; hub models have tiny stand-ins."""

import json

import pytest
import torch

from unmask import recipes
from unmask.core.errors import UsageError
from unmask.models.text_model import load_native
from unmask.training.recipe import parse, read_recipe
from unmask.training.run import train

SMALL = dict(
    max_steps=2, eval_steps=2, save_steps=2, logging_steps=1, warmup_steps=1, per_device_train_batch_size=4, dim=32,
    heads=2, layers=1, ffn_dim=32, probe_texts=2, eval_texts=4, report_to="none", disable_tqdm=True,
    limit=120, validation=0.2,
)  # fmt: skip
LINES = ["In the beginning God created the heavens and the earth .", "the earth was empty and dark", "light and water"]


@pytest.fixture(scope="session")
def standins(tmp_path_factory):
    """A Roberta and an XLM-R with random weights in Hugging Face's own format, and a saved Arrow folder of texts."""
    from datasets import Dataset
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    home = tmp_path_factory.mktemp("standins")
    texts = [f"{LINES[i % 3]} {LINES[(i * 7) % 3]} {i}" for i in range(120)]
    Dataset.from_dict({"text": texts}).save_to_disk(home / "corpus")
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, 400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
    )
    config = RobertaConfig(
        vocab_size=len(fast),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=80,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    RobertaModel(config).save_pretrained(home / "encoder")
    fast.save_pretrained(home / "encoder")
    return home


@pytest.fixture(scope="session")
def phase_one(tmp_path_factory):
    """A phase 1 model for the recipes that start from one."""
    folder = tmp_path_factory.mktemp("phase1") / "run"
    settings = {**read_recipe(recipes.find("sgdd_verses")), **SMALL, "vocab_size": 400, "output_dir": str(folder)}
    train(parse(settings), say=lambda _: None)
    return folder


@pytest.mark.parametrize("name", [n for n in recipes.names() if not n.startswith("tidal")])
def test_recipe_runs(name, tmp_path, standins, phase_one):
    settings = read_recipe(recipes.find(name))
    changed = {**SMALL, "output_dir": str(tmp_path / "run")}
    if "vocab_size" in settings:
        changed["vocab_size"] = 400
    if "start_from" in settings:
        changed["start_from"] = str(phase_one)
    if settings.get("encoder", "minilm") != "minilm":
        changed |= {"encoder": str(standins / "encoder"), "data": str(standins / "corpus")}
    model = train(parse({**settings, **changed}), say=lambda _: None)
    assert json.loads((tmp_path / "run" / "unmask.json").read_text())["task"] == settings["task"]
    again = load_native(tmp_path / "run")
    assert again.denoiser.config.conditioning == model.denoiser.config.conditioning
    canvas = again.canvas(2)
    cond = again.condition(["light", "water"]) if again.denoiser.conditional else None
    assert torch.isfinite(again.denoiser.logits(canvas, cond=cond)[:, :2]).all()


def test_shipped_recipes_are_found_and_others_named():
    assert "demo" in recipes.names()
    assert recipes.find("recipes/demo.yaml").name == "demo.yaml" == recipes.find("demo").name
    with pytest.raises(UsageError, match="did you mean 'sgdd_verses'"):
        recipes.find("sgdd_verse")


@pytest.mark.parametrize("vocab", [50_265, 250_002])
def test_the_papers_vocabularies_train_without_a_logit_tensor(vocab):
    """One step at the published vocabulary sizes; the largest tensor ever made is the head or one chunk of logits."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from unmask.core.random import generator
    from unmask.diffusion.linear_ce import CHUNK_NUMBERS, CHUNKS_A_PRODUCT
    from unmask.diffusion.objective import token_losses
    from unmask.diffusion.process import MaskingProcess
    from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.numbers = max(self.numbers, out.numel())
            return out

    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(vocab_size=vocab, dim=8, heads=2, layers=1, ffn_dim=16, max_position_embeddings=64)
    )
    ids = torch.randint(3, vocab, (48, 64), generator=generator(0))
    c = MaskingProcess(time_power=2.0).corrupt(ids, net.mask_id, generator(1))
    with Largest() as seen:
        token_losses(net, c).loss.backward()
    assert int(c.masked_BL.sum()) * vocab > 2 * seen.numbers
    assert seen.numbers <= CHUNKS_A_PRODUCT * max(CHUNK_NUMBERS, vocab)
    assert torch.isfinite(net.embed.weight.grad).all()
