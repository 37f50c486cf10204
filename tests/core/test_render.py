"""A result finds what draws it by its class: this package's own, and what an installed package offers."""

import subprocess
import sys

import pytest

from unmask.core import render
from unmask.core.errors import UnmaskError, UsageError
from unmask.core.render import page_of, save_page, view_of
from unmask.decoding import Trace


class Study:
    """A result of somebody else's."""


class Longer(Study):
    """Drawn as what it derives from."""


def test_every_registered_renderer_is_there():
    for table in (render.PAGES, render.VIEWS):
        assert "Trace" in table and "Verdict" in table
        for name in table.values():
            assert callable(render.resolve_name(name)), name


def test_a_result_draws_itself_wherever_it_is_imported_from():
    code = (
        "import torch; from unmask.decoding.trace import Trace; "
        "assert 'step by step' in Trace(torch.tensor([[1, 2]]), 2).html(); "
        "import sys; assert 'matplotlib' not in sys.modules and 'unmask.api' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_installed_package_adds_renderers_of_its_own(tmp_path, monkeypatch):
    info = tmp_path / "studies-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studies\nVersion: 1\n")
    points = "[unmask.pages]\nStudy = studies:page\nTrace = studies:page\n[unmask.views]\nStudy = studies:view\n"
    (info / "entry_points.txt").write_text(points)
    code = "def page(result, **settings): return f'{type(result).__name__} {settings}'\ndef view(result): return [7]\n"
    (tmp_path / "studies.py").write_text(code)
    with pytest.raises(UnmaskError, match="nothing draws a Longer.*'unmask.pages'"):
        page_of(Longer())
    monkeypatch.syspath_prepend(tmp_path)
    assert page_of(Longer(), title="x") == "Longer {'title': 'x'}" and view_of(Study()) == [7]
    assert page_of(Trace(None, 0)) == "Trace {}"  # and draws ours in its own way


def test_a_page_is_written_as_html_or_refused(tmp_path):
    assert save_page(tmp_path / "new" / "x.html", "é").read_text(encoding="utf-8") == "é"
    with pytest.raises(UsageError, match="'x.pdf'"):
        save_page(tmp_path / "x.pdf", "")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
