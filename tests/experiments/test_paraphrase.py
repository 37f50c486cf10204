"""The map from a source's vector to its paraphrase's, and the page."""

import pytest
import torch
import torch.nn.functional as F

from unmask.core.errors import UsageError
from unmask.experiments import paraphrase
from unmask.experiments.study import Effort


def affine(rows, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x_NZ = torch.randn(rows, 6, generator=draw)
    return x_NZ, x_NZ @ torch.randn(6, 6, generator=draw) + torch.randn(6, generator=draw)


def test_the_map_finds_an_affine_law():
    x_NZ, y_NZ = affine(200)
    found = paraphrase.VectorMap(x_NZ[:150], y_NZ[:150], 1e-9)
    assert torch.allclose(found(x_NZ[150:]), F.normalize(y_NZ[150:], dim=1), atol=1e-4)


def test_noise_asks_for_more_ridge():
    x_NZ, y_NZ = affine(400)
    draw = torch.Generator().manual_seed(1)
    _, clean = paraphrase.VectorMap.fit(x_NZ, y_NZ)
    hidden_NZ = torch.cat([x_NZ[:, :1], 0.1 * torch.randn(400, 300, generator=draw)], 1)  # 300 columns of noise
    _, noisy = paraphrase.VectorMap.fit(hidden_NZ, y_NZ)
    assert clean == min(paraphrase.RIDGES) < noisy


class Letters:
    """An encoder of letter counts."""

    def encode(self, texts):
        rows = [[text.count(c) + 0.1 for c in "abcdefghij"] for text in texts]
        return F.normalize(torch.tensor(rows), dim=1).numpy()


def test_the_reference_itself_scores_full_marks():
    texts = ["the big dog had a fig", "a jade bead fell off a cab", "each beige face did fade away"]
    z_NZ = torch.from_numpy(Letters().encode(texts))
    right = paraphrase.scored(texts, texts, Letters(), z_NZ)
    wrong = paraphrase.scored(texts[::-1], texts, Letters(), z_NZ)
    assert right["bleu"]["value"] == pytest.approx(100) and right["cosine"] == pytest.approx(1, abs=1e-6)
    assert right["word_f1"]["value"] == 1 > wrong["word_f1"]["value"] and wrong["cosine"] < 0.99


def test_the_page_holds_what_was_measured():
    interval = {"value": 12.34, "low": 10.0, "high": 15.0}
    ways = {way: {"bleu": interval, "word_f1": interval, "cosine": 0.5} for way in paraphrase.WAYS}
    line = {"pairs": 9, "steps": 3, "held_out": 4, "cosine_of_source": 0.7, "cosine_of_predicted": 0.8, "ways": ways}
    line["examples"] = [{"source": "thou art", "reference": "you are"}]
    text = paraphrase.page({"scales": {"cpu": {"start": "m", "calls": 600, "arms": {"kjv-web": line}}}}).markdown()
    assert "12.3 [10.0, 15.0]" in text and "0.800" in text and "thou art" in text
    assert all(name in text for name in paraphrase.WAYS.values())


def test_minutes_are_refused_and_so_is_another_scale():
    for effort in (Effort(minutes=1), Effort(scale="paper")):
        with pytest.raises(UsageError):
            paraphrase.measure(effort, {}, lambda: None, print)
