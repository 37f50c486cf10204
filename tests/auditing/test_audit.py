"""The whole of an audit on small laws, and how a sampler is named."""

import inspect
from functools import partial

import pytest
from samplers import faulty, sample

import unmask
from unmask.auditing.audit import audit
from unmask.auditing.foreign import Foreign, foreign, signatures
from unmask.auditing.laws.chain import Chain
from unmask.auditing.laws.hidden_chain import HiddenChain
from unmask.auditing.laws.joint import Joint
from unmask.auditing.subject import planned
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig

SMALL = {
    "chain": partial(Chain, vocab=10, length=10),
    "hidden_chain": partial(HiddenChain, vocab=8, states=4, length=8),
    "joint": partial(Joint, vocab=3, length=4, latents=0),
}


def audited(sampler):
    leaf = signatures.make("canvas")
    return audit(lambda law: Foreign(law, sampler, leaf), name="theirs", laws=SMALL)


def test_a_plain_sampler_is_not_blamed():
    verdict = audited(sample)
    assert verdict.status in ("pass", "warn") and verdict.check() is verdict


def test_a_fault_is_the_verdict():
    verdict = audited(faulty(stop=2))
    assert verdict.exit_code == 1 and "masked" in verdict.causes[0].finding.fault
    with pytest.raises(AssertionError, match="masked"):
        verdict.check()


def test_a_function_is_found_by_its_path(tmp_path):
    (tmp_path / "mine.py").write_text("def run(model, x, steps, temperature, mask_id):\n    return x\n")
    make, name = foreign(f"{tmp_path}/mine.py:run", "canvas")
    law = SMALL["chain"]()
    assert name.endswith("mine.py:run") and isinstance(make(law), Foreign)
    assert foreign("json:dumps", "canvas")[1] == "json:dumps"


@pytest.mark.parametrize("path", ["nowhere.at_all:run", "json:nothing", "json", "missing.py:run"])
def test_what_cannot_be_found_is_one_sentence(path):
    with pytest.raises(UsageError, match=r"missing\.py|json|nowhere"):
        foreign(path, "canvas")


def test_a_signature_is_needed_and_must_fit():
    with pytest.raises(UsageError, match="signature is needed.*canvas"):
        foreign(sample, None)
    with pytest.raises(UsageError, match="no effect on 'plan'"):
        unmask.audit(signature="canvas")
    with pytest.raises(UsageError, match="no effect on somebody"):
        unmask.audit(sample, signature="canvas", steps=3)

    def needy(model, x, tokenizer):
        return x

    make, _ = foreign(needy, "canvas")
    law = SMALL["chain"]()
    with pytest.raises(UsageError, match="tokenizer"):
        make(law).fill(law.exact(2, 0), 0)


def test_settings_that_laws_cannot_heed_are_refused():
    with pytest.raises(UsageError, match="length=9 has no effect"):
        planned(SamplingConfig(length=9))
    plan = planned(SamplingConfig(order="margin", steps=4))(SMALL["chain"]()).plan
    assert plan.steps == 4 and plan.temperature == 1.0


def llada_like(model, prompt, steps=128, gen_length=128, block_length=128, temperature=0.0, mask_id=0, cfg_scale=0.0):
    """The public signature, around the plain sampler."""
    import torch

    x = torch.nn.functional.pad(prompt, (0, gen_length), value=mask_id)
    return sample(model, x, steps, temperature, mask_id)


def test_a_prompt_and_a_length_are_a_canvas():
    law = SMALL["chain"]()
    make, _ = foreign(llada_like, "llada")
    subject, texts = make(law), law.exact(4, 0)
    x = texts.clone()
    x[:, 3:] = law.mask_id
    out = subject.fill(x, 0)
    assert (out[:, :3] == texts[:, :3]).all() and (out != law.mask_id).all()


def test_the_sampler_of_a_plan_is_a_setting():
    plan = planned(SamplingConfig(sampler="first_hitting"))(SMALL["chain"]()).plan
    assert plan.sampler == "first_hitting"
    assert {"target", "sampler", "order"} <= set(inspect.signature(unmask.audit).parameters)
