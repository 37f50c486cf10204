"""Generation scores, the flat metrics, and the page: escaped, self-contained, coloured by the page and not the plot."""

import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from rich.console import Console
from test_latent_use import IDS, LATENTS, Copier

from unmask.core.errors import UsageError
from unmask.decoding.trace import Trace
from unmask.evaluation.evaluate import evaluate
from unmask.evaluation.generation import reconstructed, score_generation

EVIL = '<script>alert(1)</script> [bold]king & "queen"[/bold]'
REFERENCES = ["in the beginning was the word", "a b c d", EVIL]
OUTPUTS = ["in the beginning was a word", "a b c d", EVIL + " again"]


class Outline(HTMLParser):
    """Tags that open, and every address they point at."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "data") and v]


@pytest.fixture(scope="module")
def full():
    scores = score_generation(OUTPUTS, REFERENCES, inputs=REFERENCES, training_texts=["was the word in the beginning"])
    unmasking = {"trace": Trace(torch.tensor([[1, 2]]), 9), "pieces": {1: "</script>one", 2: " two"}}
    about = {"model": "runs/<demo>"}
    return evaluate(Copier(), IDS, latents_NZ=LATENTS, generation=scores, samples=3, about=about, **unmasking)


def test_outputs_against_references():
    scores = score_generation(OUTPUTS, REFERENCES, inputs=REFERENCES)
    assert scores.match.exact_match.value == pytest.approx(1 / 3)
    # words: 5 of 6, 4 of 4, 8 of 8 found
    assert scores.match.word_recall.value == pytest.approx(17 / 18)
    # by position: 5 of 6, 4 of 4, 8 of 9 (one word too long)
    assert scores.match.token_accuracy.value == pytest.approx(17 / 19)
    assert scores.match.copy_bleu is None, "in reconstruction the input is the reference"
    assert scores.length_unit == "words" and scores.length.wasserstein == pytest.approx(1 / 3)


def test_paraphrase_shows_copying():
    scores = score_generation(["a b c d e"], ["v w x y z"], inputs=["a b c d e"])
    assert scores.match.copy_bleu.bleu == pytest.approx(100)
    assert scores.match.bleu.bleu == scores.match.input_bleu.bleu == 0


def test_free_samples_are_compared_with_nothing_one_to_one():
    scores = score_generation(["a b", "c d"], ["e f", "g h", "i j"], paired=False)
    assert scores.match is None and scores.inputs is None
    assert len(scores.data_lengths_M) == 3


def test_overlap_reads_word_4_grams():
    scores = score_generation(["he was the word in vain"], ["not here at all ever"], training_texts=["was the word in"])
    assert scores.overlap.generated == pytest.approx(1 / 3)
    assert scores.overlap.held_out == 0


def test_rewrite_goes_in_batches_and_counts():
    seen = []

    def shout(texts):
        seen.append(len(texts))
        return [t.upper() for t in texts]

    assert reconstructed(shout, ["a", "b", "c"], batch_size=2) == ["A", "B", "C"]
    assert seen == [2, 1]
    with pytest.raises(UsageError, match="1 texts for 2"):
        reconstructed(lambda texts: ["x"], ["a", "b"])
    with pytest.raises(UsageError, match="0 outputs"):
        score_generation([], ["a"])
    with pytest.raises(UsageError, match="do not pair up with 1 inputs"):
        score_generation(["a", "b"], ["a", "b"], inputs=["a"])


def test_metrics_are_flat_finite_and_named_with_units(full):
    metrics = full.metrics
    assert all(isinstance(v, float) and math.isfinite(v) for v in metrics.values())
    sure = -math.log(0.9)
    assert metrics["nelbo_bits_per_token"] == pytest.approx(sure / math.log(2), rel=1e-5)
    assert metrics["d_null_r1_nats_per_token"] == pytest.approx(math.log(8) - sure, rel=1e-5)
    assert metrics["accuracy_r1_share"] == 1
    assert metrics["tokens"] == IDS.numel()
    assert metrics["bleu_0_to_100"] == full.generation.match.bleu.bleu
    assert not any(key.startswith("gen_ppl") for key in metrics)
    assert set(full.not_measured) == {"active_units", "gen_ppl", "mauve"}


def test_a_bare_bound_says_what_is_missing():
    result = evaluate(Copier(), IDS, latents_NZ=LATENTS, samples=2)
    assert set(result.not_measured) == {"active_units", "generation"}
    assert "What it writes" not in result.page()


def test_terminal_tables_show_markup_as_text(full):
    console = Console(record=True, width=160, file=io.StringIO())
    for table in full.tables():
        console.print(table)
    shown = console.export_text()
    assert "[bold]king" in shown and "NELBO given the latent, bits/token" in shown
    assert "D_shuffled" in shown and "distinct-1" in shown
    assert "MAUVE not measured: it needs reference texts and an encoder" in " ".join(shown.split())


def test_page_escapes_texts_and_loads_nothing(full):
    html = full.page("Demo <b>run</b>")
    assert EVIL not in html and "&lt;script&gt;alert(1)" in html
    assert "<h1>Demo &lt;b&gt;run&lt;/b&gt;</h1>" in html and "runs/&lt;demo&gt;" in html
    outline = Outline(html)
    assert "script" not in outline.tags and "b" not in outline.tags
    assert all(link.startswith("#") for link in outline.links), outline.links
    assert outline.tags.count("svg") == 3
    frame = re.search(r"<iframe[^>]*>", html)[0]
    assert 'sandbox="allow-scripts"' in frame and "allow-same-origin" not in frame
    # the trace is data, spelled when the page is drawn
    assert "&amp;lt;/script&amp;gt;one two" in html


def test_saved_files(full, tmp_path):
    page = full.save(tmp_path / "new" / "place")
    assert page == tmp_path / "new" / "place" / "report.html" and page.read_text().startswith("<!doctype html>")
    tree = json.loads((page.parent / "metrics.json").read_text())
    assert tree["metrics"] == full.metrics and tree["about"] == {"model": "runs/<demo>"}
    assert full.save(tmp_path / "other.html").name == "other.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "new", "other.html"], "nothing half-written"
    assert full.page() == full.page(), "the same evaluation is the same bytes"


def test_empty_bins_and_single_texts_still_draw():
    result = evaluate(Copier(), IDS[:2], latents_NZ=LATENTS[:2], samples=1)
    assert np.isnan([i.value for i in result.likelihood.text.loss()]).any()
    assert "<svg" in result.page()
    one = evaluate(Unconditional(), IDS[:1], samples=1)
    assert "<svg" in one.page() and "nelbo_bits_per_token_low" not in one.metrics


class Unconditional(Copier):
    conditional = False

    def body(self, x_BL, cond=None, t_B=None, *, valid_BL=None, carry=None):
        from unmask.core.condition import Condition

        return super().body(x_BL, Condition(torch.zeros(len(x_BL), 8), torch.zeros(len(x_BL), dtype=torch.bool)))
