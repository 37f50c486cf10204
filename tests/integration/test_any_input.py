"""Whatever is put in, it works or is refused in one sentence (Hypothesis looks for what does neither)."""

import contextlib
import io

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unmask.core.errors import UsageError
from unmask.data.prose import prompts
from unmask.data.puzzles.puzzle import PUZZLES
from unmask.data.text import load_texts
from unmask.decoding.trace import FORMAT, Trace
from unmask.training.recipe import parse, read_recipe

ENDINGS = st.sampled_from(["txt", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "gz", "none.at.all"])
PIECES = [
    *'",;\t|\n\r\0{}[]:\\1é\xff',
    "\r\n",
    "null",
    "text",
    '"text"',
    "id",
    '{"text": "x y"}',
    "sep=;",
    "PAR1",
    "a b",
]
careful = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(leaves, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text(max_size=8), t, max_size=4))


def refused_or_fine(work):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            work()
    except UsageError as error:
        assert 0 < len(str(error)) < 1000
        assert "Traceback" not in str(error)


@careful
@given(
    st.dictionaries(
        st.sampled_from(["dim", "time_power", "data", "bf16", "length", "max_steps", "lr_scheduler_type"]), leaves
    )
)
def test_recipes(found):
    refused_or_fine(lambda: parse({"output_dir": "x", "task": "unconditional", "conditioning": "none", **found}))


@careful
@given(st.binary(max_size=120))
def test_recipe_files(tmp_path, content):
    (tmp_path / "recipe.yaml").write_bytes(content)
    refused_or_fine(lambda: read_recipe(tmp_path / "recipe.yaml"))


@careful
@given(st.lists(st.text(alphabet=st.characters(), max_size=6), max_size=6))
def test_flags(words):
    refused_or_fine(lambda: parse({"output_dir": "x", "task": "unconditional", "conditioning": "none"}, words))


@careful
@given(st.binary(max_size=200), ENDINGS)
def test_data_files(tmp_path, content, ending):
    (tmp_path / f"x.{ending}").write_bytes(content)
    refused_or_fine(lambda: list(load_texts(tmp_path / f"x.{ending}").train))


@careful
@given(st.lists(st.sampled_from(PIECES), max_size=30), ENDINGS, st.sampled_from(["latin-1", "utf-8", "utf-16-le"]))
def test_data_files_that_look_like_some(tmp_path, pieces, ending, codec):
    path = tmp_path / f"x.{ending}"
    path.write_bytes("".join(pieces).encode(codec))
    for work in (lambda: load_texts(path), lambda: load_texts(path, column=("id", "0")), lambda: prompts(path)):
        refused_or_fine(work)


@pytest.mark.parametrize("kind", ["sudoku", "zebra", "nae_sat"])
@careful
@given(text=st.text(max_size=90) | st.text(alphabet="0123456789.ABCDEFG\n ", min_size=70, max_size=90))
def test_puzzle_strings(kind, text):
    refused_or_fine(lambda: PUZZLES.make(kind).read(text))


@careful
@given(trees, trees, trees)
def test_traces(start, events, mask_id):
    tree = {"format": FORMAT, "start": start, "mask_id": mask_id, "events": events, "guesses": events}
    refused_or_fine(lambda: Trace.from_dict(tree))


@pytest.mark.parametrize(
    "line", ["eval_steps: .inf", "accelerator_config: nowhere.json", "fsdp: full_shard\nfsdp_config: nowhere.json"]
)
def test_values_that_transformers_chokes_on_are_one_sentence(line: str) -> None:
    settings = {"output_dir": "runs/x", "conditioning": "none", "task": "unconditional", **yaml.safe_load(line)}
    with pytest.raises(UsageError, match="the settings do not fit") as caught:
        parse(settings)
    assert "\n" not in str(caught.value)
