"""Every checkpoint that ships, and a small model of each family, behind the one contract: load, sample, score, save.

What a family cannot do it refuses in one sentence; nothing here asks for a model's kind.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import unmask
from unmask.core.errors import UsageError
from unmask.core.model import Model, Output
from unmask.core.sampling_config import SamplingConfig
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.diagnosis.verdict import Verdict
from unmask.families import families
from unmask.models.text_model import TextModelCard
from unmask.models.tidal import TidalModel
from unmask.models.tidal_text import TidalTextModel, config_for

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
WORDS = "river stone bridge lantern garden winter sparrow harbour meadow candle".split()
TEXTS = [" ".join(WORDS[(i * k) % 10] for k in range(1, 7)) for i in range(1, 9)]
BOARD = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def tokenizer(*specials, **names):
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **names)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A name for each model to where it lies."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    words = tokenizer("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", pad_token="[PAD]", mask_token="[MASK]",
                      cls_token="[CLS]", sep_token="[SEP]")  # fmt: skip
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=32, **small)).save_pretrained(
        root / "bert"
    )
    words.save_pretrained(root / "bert")
    ends = tokenizer("[UNK]", "<end>", bos_token="<end>", eos_token="<end>", pad_token="<end>")
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(ends), n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    ).save_pretrained(root / "gpt2")
    ends.save_pretrained(root / "gpt2")
    mixed = MixedTokenizer.train(TEXTS, 300, max_block=12)
    net = TidalModel(config_for(mixed, dim=16, layers=1, heads=2, ffn_dim=32, max_length=48))
    TidalTextModel(net, mixed, TextModelCard(length=48)).save(root / "tidal")
    made = {name: root / name for name in ("bert", "gpt2", "tidal")}
    return made | {path.name: path for path in CHECKPOINTS.iterdir() if path.is_dir()}


ALL = ["bert", "gpt2", "tidal", *sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())]
#: what each is given to write from; the names of shipped checkpoints say what they are
ZEBRA = "3x3; A1 same H1; B2 same A1; B2 just left of B3; C1 same B3; A2 just left of A3; C2 left of C3"
PROMPTS = {
    "bert": ["river [MASK] bridge"],
    "gpt2": ["river stone"],
    "tidal": ["river "],
    "sudoku_relations": [BOARD],
    "zebra_relations": [ZEBRA],
}


@pytest.fixture(scope="module")
def loaded(folders):
    kept = {}

    def get(name):
        if name not in kept:
            kept[name] = unmask.load(folders[name], "cpu")
        return kept[name]

    return get


def prompts(name):
    return PROMPTS.get(name, ["In the beginning God created the heavens and the earth."])


def test_every_family_is_tried_and_ships_a_reason():
    assert set(families) == {"causal", "masked", "puzzle", "tidal"}
    assert all(row["summary"] and row["reference"] for row in families.table())


@pytest.mark.parametrize("name", ALL)
def test_load_gives_a_model_that_writes(name, loaded):
    model = loaded(name)
    assert isinstance(model, Model) and model.words and (model.limit is None or model.limit > 0)
    out = unmask.sample(model, prompts(name), seed=3, **({"length": 4} if "length" in model.honours else {}))
    assert isinstance(out, Output) and len(out.texts) == 1 and out.forwards > 0 and out.precision == "fp32"
    again = unmask.sample(model, prompts(name), seed=3, **({"length": 4} if "length" in model.honours else {}))
    assert again.texts == out.texts
    assert out.to_dict()["texts"] == out.texts


@pytest.mark.parametrize("name", ALL)
def test_a_setting_is_honoured_or_refused_by_name(name, loaded):
    model = loaded(name)
    others = {"order": "margin", "top_k": 3, "loops": 2, "verify": "rules", "stop_at_eos": True, "guidance": 3.0}
    for setting, value in others.items():
        if setting not in model.honours:
            with pytest.raises(UsageError, match=f"{setting}=.*has no effect on {model.words[:20]}"):
                unmask.sample(model, prompts(name), **{setting: value})
    fields = {f.name for f in dataclasses.fields(SamplingConfig)}
    assert model.honours <= fields


@pytest.mark.parametrize("name", ALL)
def test_output_is_written_and_a_trace_drawn_or_refused(name, loaded, tmp_path):
    model = loaded(name)
    out = unmask.sample(
        model, prompts(name), trace=model.traces, **({"length": 4} if "length" in model.honours else {})
    )
    assert '"texts"' in out.save(tmp_path / "out.json").read_text()
    if model.traces:
        assert "<html" in out.save_trace(tmp_path / "trace.html").read_text()[:200]
        assert out.save_trace(tmp_path / "trace.json").stat().st_size > 2
    else:
        with pytest.raises(UsageError, match="no trace"):
            out.save_trace(tmp_path / "trace.html")


#: what each is scored on and diagnosed with, where it is not TEXTS
DATA = {"gpt2": TEXTS * 4, "sudoku_relations": [BOARD, BOARD.replace("5", ".", 1)], "zebra_relations": [ZEBRA, ZEBRA]}


@pytest.mark.parametrize("name", ["bert", "gpt2", "tidal", "sudoku_relations", "zebra_relations"])
def test_scores_and_verdicts_are_given_or_refused(name, loaded, tmp_path):
    model, data = loaded(name), DATA.get(name, TEXTS)
    try:
        scores = unmask.evaluate(model, data, judge=None, trace=False)
        assert scores.metrics and all(isinstance(value, float) for value in scores.metrics.values())
        assert scores.tables() and "<html" in scores.save(tmp_path / "scores").read_text()[:200]
    except UsageError as refused:
        assert name == "gpt2" and "\n" not in str(refused)
    verdict = unmask.diagnose(model, data, only=["batch_invariance"])
    assert isinstance(verdict, Verdict) and [f.status for f in verdict.findings] == ["pass"]


@pytest.mark.parametrize("name", ["bert", "gpt2", "tidal", "sudoku_relations", "zebra_relations"])
def test_export_is_refused_in_one_sentence(name, loaded, tmp_path):
    with pytest.raises(UsageError) as refused:
        loaded(name).export(tmp_path / "out")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ALL)
def test_what_is_saved_loads_again_or_the_refusal_says_why(name, loaded, tmp_path):
    model = loaded(name)
    try:
        folder = model.save(tmp_path / "copy")
    except UsageError as refused:
        assert "copy" in str(refused)
        return
    again = unmask.load(folder, "cpu")
    kind = {"length": 4} if "length" in model.honours else {}
    assert type(again) is type(model)
    assert unmask.sample(again, prompts(name), **kind).texts == unmask.sample(model, prompts(name), **kind).texts


def test_a_board_is_solved_and_said_to_be_verified(loaded):
    out = unmask.sample(loaded("sudoku_relations"), [BOARD, BOARD.replace("5", ".", 1)], trace=True)
    assert out.verified == [True, True] and out.calls >= 2
    assert len(out.trace.start_BL) == 2
    shared = unmask.sample(loaded("sudoku_relations"), [BOARD, BOARD.replace("5", ".", 1)], trace=True, share=True)
    assert shared.texts == out.texts and shared.verified == out.verified and shared.forwards == out.forwards
    plain = unmask.sample(loaded("sudoku_relations"), [BOARD], verify=None)
    assert plain.verified is None and plain.calls == 0
