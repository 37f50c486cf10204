"""A family from outside the package: recognised, loaded, sampled, and refused where it has nothing to say."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import unmask
from unmask.core.errors import UsageError
from unmask.core.family import Family
from unmask.core.model import Model, Output
from unmask.families import families


class EchoModel(Model):
    honours: ClassVar[frozenset[str]] = frozenset({"length"})
    words: ClassVar[str] = "an echo, which says what it heard"

    def __init__(self, mark, path):
        self.mark, self.path = mark, path

    @property
    def device(self):
        return torch.device("cpu")

    @property
    def limit(self):
        return None

    def write(self, task, config):
        heard = [str(text)[: config.length] + self.mark for text in task.texts or [""] for _ in range(task.n or 1)]
        return Output(heard, torch.zeros(len(heard), 1, dtype=torch.long), len(heard), self, config=config)


@dataclass(frozen=True)
class Echo(Family):
    """Says again what it was told."""

    reference: ClassVar[str] = "this test"

    @classmethod
    def detect(cls, place):
        return "it holds echo.json" if "echo.json" in place.files else None

    @classmethod
    def load(cls, place, device):
        return EchoModel(json.loads((place.folder / "echo.json").read_text())["mark"], place.name)


@pytest.fixture
def echo(tmp_path):
    families.register(Echo, "echo")
    (tmp_path / "echo.json").write_text('{"mark": "!"}')
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    yield unmask.load(tmp_path)
    families.unregister("echo")


def test_a_family_from_outside_comes_first_and_works(echo):
    assert isinstance(echo, EchoModel)
    assert unmask.sample(echo, ["river", "stone"], n=2, length=3).texts == ["riv!", "riv!", "sto!", "sto!"]


def test_what_it_does_not_do_is_one_sentence(echo, tmp_path):
    for ask, says in (
        (lambda: unmask.sample(echo, ["x"], order="margin"), "order='margin' has no effect on an echo"),
        (lambda: unmask.evaluate(echo, ["x"]), "evaluate has no scores for an echo"),
        (lambda: unmask.diagnose(echo, ["x"]), "diagnose has no questions for an echo"),
        (lambda: echo.save(tmp_path / "y"), "is not saved again"),
        (lambda: unmask.sample(echo, ["x"]).save_trace("x.html"), "there is no trace"),
    ):
        with pytest.raises(UsageError, match=says):
            ask()


def test_what_is_no_model_is_said():
    with pytest.raises(UsageError, match="sample takes a model from unmask.load, not a dict"):
        unmask.sample({}, ["x"])
