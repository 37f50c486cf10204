"""Small models of the families that are there: each is prepared as for training where that is possible, writes, is
scored, diagnosed, saved and loaded again. Run by ``test_without_a_family.py`` in a package that lacks one.

    python tests/families/smoke.py FOLDER
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import unmask
from tiny_training import settings, write_texts
from unmask.core.errors import UnmaskError, UsageError
from unmask.core.family import families
from unmask.training.recipe import parse

WORDS = "river stone bridge lantern garden winter sparrow harbour meadow candle".split()
TEXTS = [" ".join(WORDS[(i * k) % 10] for k in range(1, 4)) for i in range(1, 65)]


def tokenizer(*specials, **names):
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **names)


def bert(folder):
    words = tokenizer("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", pad_token="[PAD]", mask_token="[MASK]",
                      cls_token="[CLS]", sep_token="[SEP]")  # fmt: skip
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=32, **small)).save_pretrained(folder)
    words.save_pretrained(folder)


def gpt2(folder):
    ends = tokenizer("[UNK]", "<end>", bos_token="<end>", eos_token="<end>", pad_token="<end>")
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(ends), n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    ).save_pretrained(folder)
    ends.save_pretrained(folder)


def trained(folder, **changed):
    (folder.parent / "data").mkdir(exist_ok=True)
    recipe = parse(settings(write_texts(folder.parent / "data"), folder, **changed))
    families.training(recipe.model.family).prepare(recipe, lambda _: None).model.save(folder)


def denoiser(folder):
    trained(folder, length=40)


def tidal(folder):
    trained(folder, family="tidal", heads=2, max_block=8, length=48, blocks="word")


def puzzle(folder):
    from unmask.data.puzzles import PUZZLES
    from unmask.data.puzzles.kinds.sudoku import Sudoku
    from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser, Shape, save

    mini = Sudoku(size=4, fewest=4, most=5, side="train")
    net = PuzzleDenoiser.fresh(mini, Shape(dim=16, layers=1, heads=2, ffn_dim=32, loops=1), 0)
    save(net, PuzzleCard(PUZZLES.spec_of(mini), "unknown"), folder)


#: family -> what makes a small model of it, and what it writes from
MADE = {
    "masked": [(bert, ["river [MASK] bridge"]), (denoiser, None)],
    "causal": [(gpt2, ["river stone"])],
    "tidal": [(tidal, ["river "])],
    "puzzle": [(puzzle, ["12.4341221.3.32."])],
}


def tried(folder, texts, copy):
    """Everything that is asked of any model; what it refuses is one sentence."""
    model = unmask.load(folder, "cpu")
    given = {"seed": 1, **({"length": 8} if "length" in model.honours else {})}
    out = unmask.sample(model, texts, **given)
    assert out.texts
    boards = out.model.words.startswith("a puzzle")
    data, done = texts * 4 if boards else TEXTS, []
    for ask in (
        lambda: unmask.evaluate(model, data, texts=2, trace=False, judge=None).metrics,
        lambda: unmask.diagnose(model, data, only=["batch_invariance"]).status,
        lambda: unmask.load(model.save(copy), "cpu") and unmask.sample(unmask.load(copy, "cpu"), texts, **given).texts,
    ):
        try:
            done.append(ask())
        except UsageError as refused:
            assert "\n" not in str(refused)
            done.append(str(refused))
    assert done[1] in ("pass", "warn"), done
    assert done[2] == out.texts or "copy" in done[2], done


def main(root):
    torch.manual_seed(0)
    there = set(families)
    for family, kinds in MADE.items():
        for make, texts in kinds:
            folder = root / make.__name__
            if family in there:
                make(folder)
                tried(folder, texts, root / f"{make.__name__}_copy")
                print(f"{family}: {make.__name__}")
            else:
                folder.mkdir()
                (folder / "config.json").write_text('{"model_type": "unmask"}')
                try:
                    unmask.load(folder, "cpu")
                except UnmaskError as refused:
                    assert "\n" not in str(refused)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
