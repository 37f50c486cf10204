"""Training a corrector: its drafts and their rounds, a run that is resumed, and that it learns to trust a draft."""

import random

import pytest
import torch
from safetensors.torch import load_file

from tiny_training import history, run, steps_with, write_texts
from unmask.core.condition import Condition
from unmask.core.errors import CheckpointError, UsageError
from unmask.core.random import generator
from unmask.data.canvas import collate
from unmask.decoding.corrections import corrections
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.families.masked import MaskedFamily
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import load_native
from unmask.training.checkpoint import last_checkpoint
from unmask.training.drafts import Drafter, Drafts, edited
from unmask.training.recipe import parse

VECTOR = dict(task="reconstruction", conditioning="adaln", latent_tokens=2, condition_dropout=0.2, bag_of_words=6)
CORRECTION = dict(
    task="correction", conditioning="adaln", condition_dropout=0.2, draft_rounds=2, without_hypothesis=0.2, ema=0.9,
    max_steps=6, save_steps=2, eval_steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=[False, True], ids=["fixed canvas", "model of lengths"])
def decoder(request, texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoder")
    run(texts, folder, length_model=request.param, **VECTOR)
    return folder


def correct(texts, folder, decoder, probes=None, **changed):
    return run(texts, folder, probes, start_from=str(decoder), **{**CORRECTION, **changed})


def test_a_run_writes_drafts_in_rounds(texts, decoder, tmp_path):
    def probes(prepared):
        prepared.recipe = parse(prepared.model.card.recipe | {"show_texts": 1})
        return MaskedFamily.probes(prepared)

    model = correct(texts, tmp_path, decoder, probes, probe_texts=3, probe_steps=4)
    net = model.denoiser
    assert net.corrects and model.card.task == "correction" and load_native(tmp_path).denoiser.corrects
    first, last = (Drafts.load(tmp_path / f"checkpoint-{step}") for step in (4, 6))
    assert (first.round, last.round) == (1, 1) and torch.equal(first.ids_NL, last.ids_NL)
    assert ((first.ids_NL != net.pad_id).any(1)).float().mean() > 0.9
    # the vectors are those of the texts
    row = int((first.ids_NL != net.pad_id).any(1).nonzero()[5])
    torch.testing.assert_close(model.encode(model.decode(first.ids_NL[[row]].long())), first.vectors_NZ[[row]])
    figures = [e for e in history(tmp_path) if "eval_generation" in e]
    assert len({e["eval_cosine_draft"] for e in figures}) == 1
    assert all(e["eval_generation"] == e["eval_cosine_corrected"] for e in figures)
    assert steps_with(tmp_path, "bag_recall30")


def test_the_second_round_is_half_its_own(texts, decoder, tmp_path):
    correct(texts, tmp_path, decoder, save_steps=3, eval_steps=3)
    before, after = (Drafts.load(tmp_path / f"checkpoint-{step}") for step in (3, 6))
    assert (before.round, after.round) == (0, 1)
    changed = (before.vectors_NZ != after.vectors_NZ).any(1).float().mean()
    assert 0.3 < changed < 0.7


@pytest.mark.parametrize("at", [4, 6], ids=["before the second round", "after it"])
def test_a_run_that_stopped_goes_on_exactly(texts, decoder, tmp_path, at):
    class Stop(Exception):
        pass

    def interrupt(prepared):
        def probe(net, step):
            if step == at:
                raise Stop
            return {}, []

        return [probe]

    whole = correct(texts, tmp_path / "whole", decoder)
    with pytest.raises(Stop):
        correct(texts, tmp_path / "cut", decoder, interrupt)
    assert last_checkpoint(tmp_path / "cut").endswith(f"checkpoint-{at - 2}")
    again = correct(texts, tmp_path / "cut", decoder)
    for (name, a), b in zip(whole.denoiser.state_dict().items(), again.denoiser.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for name in ("drafts.safetensors", "ema.safetensors"):
        one, other = (load_file(f"{last_checkpoint(tmp_path / run)}/{name}") for run in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    (tmp_path / "cut" / "checkpoint-6" / "drafts.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no readable drafts.safetensors"):
        Drafts.load(tmp_path / "cut" / "checkpoint-6")


def test_drafts_do_not_depend_on_who_stands_beside_a_row(texts, decoder):
    model = load_native(decoder)
    lines = texts.read_text(encoding="utf-8").splitlines()[:40]
    ids, latents = model.tokenize(lines), model.encode(lines)

    class Rows:
        def __len__(self):
            return len(lines)

        def __getitem__(self, row):
            return self.__getitems__([row])[0]

        def __getitems__(self, rows):
            return [{"input_ids": ids[row], "latent": latents[row]} for row in rows]

    all_of_them, some = (Drafter(model, model, Rows(), count, 3).first() for count in (0, 10))
    held = (some.ids_NL != model.denoiser.pad_id).any(1)
    assert held.nonzero()[:, 0].tolist() == list(range(0, 40, 4))
    assert torch.equal(some.ids_NL[held], all_of_them.ids_NL[held])
    torch.testing.assert_close(some.vectors_NZ[held], all_of_them.vectors_NZ[held])


def test_edits_of_a_text():
    rng, text = random.Random(0), "light and water and seed"
    found = [edited(text, "river stone", rng) for _ in range(200)]
    assert text in found and len(set(found)) > 100
    assert {word for one in found for word in one.split()} == {*text.split(), "river", "stone"}
    assert min(len(one.split()) for one in found) < 5 < max(len(one.split()) for one in found)
    assert edited(text, "x", rng, most=0) == text and edited("", "x", random.Random(1), most=9) != ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs start_from"),
        ({"start_from": "x", "drafts": -1}, "drafts=-1 must be at least 0"),
        ({"start_from": "x", "draft_rounds": 0}, "draft_rounds=0 must be at least 1"),
        ({"start_from": "x", "without_hypothesis": 2}, "without_hypothesis=2.0 must lie in"),
        ({"task": "reconstruction", "drafts": 5}, "drafts=5 has no effect: it needs task=correction"),
        ({"task": "reconstruction", "draft_rounds": 5}, "draft_rounds=5 has no effect: it needs task=correction"),
    ],
)
def test_settings_are_refused_before_any_work(given, said):
    with pytest.raises(UsageError, match=said):
        parse({"data": "no_such.txt", "output_dir": "runs/x", "task": "correction", **given})


def test_drafts_of_a_model_without_vectors_are_refused(texts, decoder, tmp_path):
    run(texts, tmp_path / "free")
    with pytest.raises(UsageError, match="drafts_from='.*free' must write from the vectors"):
        correct(texts, tmp_path / "run", decoder, drafts_from=str(tmp_path / "free"))


def test_rows_say_which_they_are_only_where_asked():
    item = {"input_ids": torch.tensor([3, 1]), "length": 2}
    assert "row" not in collate([item, item])
    assert collate([{**item, "row": 7}, {**item, "row": 2}])["row"].tolist() == [7, 2]


def test_it_learns_when_to_keep_a_draft():
    """Vectors tell the words and not their order: only the draft can. It is right where nothing is missing."""
    V, L, g = 12, 4, generator(0)
    torch.manual_seed(0)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=V, max_position_embeddings=L, dim=32, layers=2, heads=4, ffn_dim=64, conditioning="adaln",
            latent_dim=V, latent_tokens=2, corrector=True,
        )
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), lr=6e-3)

    def told(rows):
        text = torch.stack([torch.randperm(V - 3, generator=g)[:L] + 3 for _ in range(rows)])
        other = torch.stack([torch.randperm(V - 3, generator=g)[:L] + 3 for _ in range(rows)])
        draft = torch.where(torch.rand(rows, 1, generator=g) < 0.5, text, other)
        z, z_h = (torch.nn.functional.one_hot(ids, V).float().sum(1) for ids in (text, draft))
        return text, draft, Condition.of(z).about(draft, z_h)

    net.train()
    for step in range(250):
        text, _, cond = told(64)
        loss = token_losses(net, MaskingProcess(time_power=2.0).corrupt(text, net.mask_id, generator(step)), cond).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    text, draft, cond = told(200)
    found = corrections(net, cond.latent_BZ, cond.hypothesis_latent_BZ, draft, temperature=0.0, steps=4)[:, 0]
    right = (draft == text).all(1)
    assert (found[right] == text[right]).all(1).float().mean() > 0.9
    # another draft is left: the words of the vector are written
    words = [torch.equal(a.sort().values, b.sort().values) for a, b in zip(found[~right], text[~right], strict=True)]
    assert sum(words) > 0.5 * len(words) and (found[~right] == draft[~right]).all(1).float().mean() < 0.1
