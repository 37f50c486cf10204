"""The page of samplers is what the registries say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.decoding.cache import caches
from unmask.decoding.order import orders
from unmask.decoding.quota import quotas
from unmask.decoding.remask import remaskers
from unmask.decoding.rule import samplers
from unmask.registries import markdown, refilled

PAGE = Path(__file__).parents[2] / "docs" / "samplers.md"
KINDS = {"orders": orders, "quotas": quotas, "samplers": samplers, "remaskers": remaskers, "caches": caches}


def test_the_committed_page_is_the_generated_one() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert refilled(text) == text, "run: unmask list --write docs/samplers.md"
    assert set(re.findall(r"<!-- unmask list (\w+) -->", text)) == set(KINDS)
    # a page whose tables were emptied is filled again
    empty = re.sub(r"(<!-- unmask list \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL)
    assert empty != text and refilled(empty) == text


def test_what_the_page_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGE.read_text(encoding="utf-8"))
    assert links and not [link for link in links if not (PAGE.parent / link).exists()]


@pytest.mark.parametrize("kind", KINDS)
def test_tables_name_every_leaf_and_setting(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = markdown(kind)
    with pytest.raises(SystemExit):
        main(["list", kind])
    said = capsys.readouterr().out
    for row in KINDS[kind].table():
        assert f"| `{row['name']}` |" in table and row["settings"] in table and row["reference"] in table
        assert row["name"] in said
    with pytest.raises(UsageError, match="did you mean 'orders'"):
        markdown("order")


def test_the_command_writes_a_page_and_refuses_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Mine\n<!-- unmask list quotas -->\nold\n<!-- end -->\nrest\n")
    with pytest.raises(SystemExit) as stop:
        main(["list", "--write", str(page)])
    assert not stop.value.code
    assert page.read_text() == f"# Mine\n<!-- unmask list quotas -->\n{markdown('quotas')}\n<!-- end -->\nrest\n"
    with pytest.raises(SystemExit) as stop:
        main(["list", "--write", str(tmp_path / "none.md")])
    assert stop.value.code == 2
