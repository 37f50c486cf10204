"""The page and the terminal show what the trace holds, whatever the tokens are spelt like."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from decoding_toy import EOS, MASK, TinyNet, canvas
from unmask.core.denoiser import Denoiser
from unmask.core.render import page_of
from unmask.decoding import DecodingPlan, Trace, generate
from unmask.reporting.live import HIDDEN, draw, live_callback, show
from unmask.reporting.trace import page, spelling

NASTY = ["</script><script>alert(1)</script>", "<b>", "&amp;", "[red]", "\n", "🙂", "\u2028", '"', "\x1b[2J", "שלום"]


def piece(token: int) -> str:
    return f" {NASTY[token % len(NASTY)]}"


def a_trace(mode: str = "full") -> Trace:
    plan = DecodingPlan(sampler="ancestral", steps=6, remasking="rescale:eta=0.5")
    trace = generate(TinyNet(), canvas(rows=3), plan, trace=mode).trace  # type: ignore[arg-type]
    assert trace is not None
    return trace


def embedded(html: str) -> dict[str, object]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_trace_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    trace = a_trace()
    path = trace.to_html(tmp_path / "trace.html", piece, title="<i>Title</i>")
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == 2 and html.count("</script>") == 2
    assert "<b>" not in html and "<i>Title" not in html and "&lt;i&gt;Title" in html
    assert set(re.findall(r"https?://[^\s\"')]+", html)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href|url)\s*[=(]", html)
    data = embedded(html)
    # the page replays to the output: columns row, step, position, kind, value, ...
    out_BL = torch.tensor(data["start"])
    for row, _, position, _, value, *_ in data["events"]:  # type: ignore[attr-defined]
        out_BL[row, position] = value
    assert torch.equal(out_BL, trace.replay())
    assert data["mask"] == MASK and len(data["guesses"]) == len(trace.guesses)  # type: ignore[arg-type]
    assert all(data["pieces"][str(v)] == piece(v) for v in out_BL.flatten().tolist())  # type: ignore[index]


def test_the_page_shows_the_rows_asked_for() -> None:
    trace = a_trace("committed")
    data = embedded(page(trace, piece, rows=[2]))
    assert data["start"] == trace.start_BL[2:3].tolist() and data["guesses"] == []
    assert {e[0] for e in data["events"]} == {0}  # type: ignore[attr-defined]
    picked = trace.select([2, 0])
    assert torch.equal(picked.replay(), trace.replay()[[2, 0]])


def test_the_terminal_shows_text_not_markup_or_control_codes() -> None:
    trace = a_trace()
    text = draw(trace, piece, 99).plain
    assert text.startswith("step  99") and "[red]" in text and "\x1b" not in text and "░" not in text
    assert draw(trace, piece, 0).plain.count("░") == int((trace.start_BL[0] == MASK).sum())
    stream = io.StringIO()
    show(trace, piece, console=Console(file=stream, width=500))
    assert stream.getvalue().count("step") == 1


def test_live_output_follows_the_row_and_is_silent_in_a_file() -> None:
    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=200)
        generate(TinyNet(), canvas(rows=2), DecodingPlan(steps=3), callback=live_callback(piece, console=console))
        steps = re.findall(r"step +(\d+)", stream.getvalue())
        assert (sorted(set(steps)) == ["1", "2", "3"]) if terminal else steps == []


class Ends(TinyNet):
    """Writes the end of text wherever it is asked; breaks in its ``breaks``-th forward."""

    breaks = 0

    def body(self, *args: Any, **kwargs: Any) -> Any:
        if len(self.calls) + 1 == self.breaks:
            raise RuntimeError("out of memory")
        return super().body(*args, **kwargs)

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.out.T, 99.0 * torch.nn.functional.one_hot(torch.tensor(EOS), self.vocab_size)


def watched(net: Denoiser, x_BL: Tensor, plan: DecodingPlan) -> str:
    """What a live display wrote to a terminal; it was opened once, and is closed."""
    stream, before = io.StringIO(), sys.stdout
    live = live_callback(piece, console=Console(file=stream, force_terminal=True, width=200))
    try:
        with contextlib.suppress(RuntimeError):
            generate(net, x_BL, plan, callback=lambda progress: live(progress))
        assert sys.stdout is before
    finally:
        sys.stdout = before
    shown = stream.getvalue()
    assert shown.count("\x1b[?25l") == 1 and shown.count("\x1b[?25h") == 1  # the cursor hidden, and shown again
    return shown


def test_the_live_display_closes_however_a_row_ends() -> None:
    left = DecodingPlan(order="left_to_right", quota="one", temperature=0.0)
    frames = watched(Ends(), canvas(rows=1), replace(left, stop_at_eos=True)).split("step")
    assert HIDDEN in frames[1] and HIDDEN not in frames[-1]  # what lies behind the end is shown as ended
    # the row shown is done long before the other
    x_BL = torch.full((2, 9), MASK)
    x_BL[0, 1:] = 5
    assert watched(TinyNet(), x_BL, left).count("step") >= 2
    broken = Ends()
    broken.breaks = 3
    assert HIDDEN in watched(broken, canvas(rows=1), left)


class Spelled:
    """A tokenizer of hostile words with an end and a padding."""

    pad_token_id, eos_token_id = 1, 2

    def decode(self, ids: list[int], **settings: Any) -> str:
        return piece(ids[0])


def test_the_page_of_an_output_is_spelt_by_its_model() -> None:
    trace = a_trace("committed")
    output = SimpleNamespace(model=SimpleNamespace(piece=spelling(Spelled(), MASK)))
    data: Any = embedded(page_of(trace, output=output))
    signs = {"1": "·", "2": "⏎"}
    assert data["pieces"] == {token: signs.get(token, piece(int(token))) for token in data["pieces"]}
    assert spelling(Spelled(), MASK)(MASK) == "" and spelling(Spelled(), MASK)(2) == "⏎"
    assert any(str(v) in data["pieces"] for v in trace.replay().flatten().tolist())


def test_to_terminal_plays_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    a_trace("committed").to_terminal(piece, row=1)
    assert capsys.readouterr().out.count("step") == 1
