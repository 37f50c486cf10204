"""A family from outside the package: recognised, loaded, sampled, and refused where it has nothing to say."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import unmask
from unmask.core.errors import UsageError
from unmask.core.family import Family, Prepared, families
from unmask.core.model import Model, Output
from unmask.models.text_model import TextModelCard
from unmask.training.base_trainer import BaseTrainer
from unmask.training.recipe import parse


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


class Guess(nn.Module):
    """Three numbers that are to become the data's mean."""

    def __init__(self):
        super().__init__()
        self.guess = nn.Parameter(torch.zeros(3))

    def forward(self, x_B3):
        return ((self.guess - x_B3) ** 2).mean()

    def save_pretrained(self, folder, state_dict=None):
        save_file(dict(state_dict or self.state_dict()), f"{folder}/model.safetensors")


class GuessTrainer(BaseTrainer):
    def __init__(self, *, law, **others):
        super().__init__(**others)

    def weigh(self, batch, rows):
        return torch.tensor([float(len(batch["x"]))])

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        return model(inputs["x"]) * float(self.part.share_K[0])

    def since_last_log(self):
        return {}

    def held_out(self, net):
        loss = float(net(torch.stack([row["x"] for row in self.eval_dataset])))
        return {"loss": loss, "generation": -loss}


class GuessModel(EchoModel):
    words: ClassVar[str] = "a guess"

    def __init__(self, net):
        super().__init__("", None)
        self.denoiser, self.card = net, TextModelCard(length=3)

    def save(self, folder, dtype=None):
        self.denoiser.save_pretrained(folder)


@dataclass(frozen=True)
class Guesses(Family):
    """Learns a mean."""

    reference: ClassVar[str] = "this test"
    trains: ClassVar[str] = "guess"
    reads: ClassVar[tuple[str, ...]] = ("packed",)

    @classmethod
    def detect(cls, place):
        return None

    @classmethod
    def load(cls, place, device):
        raise NotImplementedError

    @classmethod
    def check(cls, recipe):
        if recipe.model.layers != 4:
            raise UsageError(f"layers={recipe.model.layers}: a guess has none")

    @classmethod
    def prepare(cls, recipe, say=print):
        rows = [{"x": torch.tensor([1.0, 2.0, 3.0])}] * 40
        return Prepared(
            recipe=recipe,
            model=GuessModel(Guess()),
            train=rows,
            validation=rows[:4],
            collate=lambda part: {"x": torch.stack([row["x"] for row in part])},
            trainer=GuessTrainer,
        )


@pytest.fixture
def guesses():
    families.register(Guesses, "guesses")
    yield
    families.unregister("guesses")


def recipe(folder, **given):
    settings = dict(
        family="guess", data="none", task="unconditional", conditioning="none", output_dir=str(folder), bf16=False,
        max_steps=60, learning_rate=0.3, per_device_train_batch_size=4, ema=0.0, eval_steps=60, save_steps=60,
        logging_steps=60, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    return parse({**settings, **given})


def test_a_family_from_outside_brings_its_trainer(guesses, tmp_path):
    model = unmask.train(recipe(tmp_path / "run"))
    assert isinstance(model, GuessModel)
    saved = load_file(str(tmp_path / "run/model.safetensors"))["guess"]
    assert torch.allclose(saved, torch.tensor([1.0, 2.0, 3.0]), atol=0.2)
    assert model.card.scores["eval_loss"] < 0.05


def test_settings_are_useless_unless_a_family_reads_them(guesses, tmp_path):
    assert recipe(tmp_path, packed=True).model.packed
    for given, said in (
        ({"loops": 2}, "loops=2 has no effect: it needs family=denoiser"),
        ({"attention": "causal"}, "attention=causal has no effect: it needs family=tidal"),
        ({"layers": 2}, "layers=2: a guess has none"),
        ({"metric_for_best_model": "nelbo"}, "is no figure of this run: It reports generation, loss"),
        ({"family": "gues"}, "family='gues' is trained by none: did you mean 'guess'"),
    ):
        with pytest.raises(UsageError, match=said):
            recipe(tmp_path, **given)


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
