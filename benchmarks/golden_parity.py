"""Run the public samplers beside ours on one tiny model and write the golden vectors that keep the parity.

    python benchmarks/golden_parity.py --peers <folder> --write tests/decoding/golden/peers.json

``<folder>`` holds files that this script does not fetch and the project does not ship:

    llada_generate.py      github.com/ML-GSAI/LLaDA        generate.py
    fast_generate.py       github.com/NVlabs/Fast-dLLM     llada/generate.py
    dllm_mdlm.py, dllm_base.py, dllm_utils.py, dllm_alpha.py
                           github.com/ZHZisZZ/dllm         dllm/core/samplers/{mdlm,base,utils}.py, schedulers/alpha.py
    dream_generation.py    github.com/NVlabs/Fast-dLLM     dream/model/generation_utils.py (Dream's, four algorithms)

Each case is run by the peer and by ``unmask.decoding.reference`` under the same ``torch.manual_seed``; the script
fails if any token or the number of forwards differs. Without ``--peers`` ours is held against the vectors at hand.
Golden vectors hold settings, tokens and the peers' commits; the model is fp64, so that they do not depend on the
rounding of a machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.denoiser import Body, Denoiser
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.reference import generate_reference


class ParityNet(Denoiser):
    """Random weights from a named generator: embedding, position, mean, tanh, head."""

    eos_id = 1

    def __init__(self, vocab_size: int = 257, dtype: torch.dtype = torch.float64, width: int = 24) -> None:
        self.vocab_size, self.mask_id = vocab_size, vocab_size - 1
        g = torch.Generator().manual_seed(7)
        self.embed, self.place, self.mix, self.out = (
            (torch.randn(n, width, generator=g, dtype=torch.float64) * scale).to(dtype)
            for n, scale in ((vocab_size, 1.0), (128, 1.0), (width, 0.4), (vocab_size, 1.3))
        )

    def body(self, x_BL: Tensor, *args: Any, valid_BL: Tensor | None = None, **kwargs: Any) -> Body:
        h = self.embed[x_BL] + self.place[: x_BL.shape[1]]
        w = torch.ones_like(x_BL, dtype=h.dtype) if valid_BL is None else valid_BL.to(h.dtype)
        mean = (h * w[..., None]).sum(1, keepdim=True) / w.sum(1)[:, None, None]
        return Body(torch.tanh(h + 3 * mean @ self.mix))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.out, None


GOLDEN = Path(__file__).parents[1] / "tests" / "decoding" / "golden" / "peers.json"

#: sampler, prompt lengths of the rows, tokens to write, plan
CASES: list[dict[str, Any]] = [
    {"style": style, "prompts": prompts, "length": length, "plan": {"quota": "linear", "order": order, **plan}}
    for style, prompts in (("llada", [5, 5]), ("fast_dllm", [5]), ("dllm", [5, 5]))
    for order in ("drawn_prob", "random")
    for temperature in (0.0, 1.0)
    for length, plan in (
        (16, {"steps": 16, "temperature": temperature}),
        (16, {"steps": 8, "block_length": 8, "temperature": temperature}),
    )
]
CASES += [
    {"style": style, "prompts": [4, 4], "length": 12, "plan": {"quota": "linear", "order": "drawn_prob", **plan}}
    for style in ("llada", "dllm")
    for plan in (
        {"steps": 6, "temperature": 0.0, "guidance": 2.5},
        {"steps": 6, "temperature": 1.0, "guidance": 1.5, "block_length": 4},
    )
]
CASES += [
    {"style": "llada", "prompts": [4], "length": 12, "plan": {"quota": "linear", "order": "drawn_prob", "steps": 24}},
    {"style": "llada", "prompts": [4], "length": 12, "plan": {"quota": "linear", "order": "drawn_prob", "steps": 5}},
    {"style": "dllm", "prompts": [3, 6], "length": 14, "plan": {"quota": "linear", "order": "drawn_prob", "steps": 9}},
    {
        "style": "dllm",
        "prompts": [3, 6],
        "length": 14,
        "plan": {"quota": "linear", "order": "drawn_prob", "steps": 9, "block_length": 4, "temperature": 0.0},
    },
]
CASES += [
    {
        "style": "fast_dllm",
        "prompts": [5],
        "length": 16,
        "plan": {"quota": f"threshold:least={least}", "order": "drawn_prob", "block_length": 8, "temperature": t},
    }
    for least in (0.3, 0.8)
    for t in (0.0, 1.0)
]
CASES += [
    {"style": "dream", "prompts": [5, 5], "length": 16, "plan": {**plan, "temperature": t, **more}}
    for plan in (
        {"sampler": "ancestral", "steps": 8},
        {"quota": "linear", "order": "drawn_prob", "steps": 8},
        {"quota": "linear", "order": "margin", "steps": 7},
        {"quota": "linear", "order": "entropy", "steps": 16},
        {"quota": "linear", "order": "entropy:noise=gumbel,coefficient=0.4", "steps": 8},
    )
    for t, more in ((0.0, {}), (1.0, {}), (0.7, {"top_p": 0.9}), (1.0, {"top_k": 20}))
]


def canvas(net: ParityNet, case: dict[str, Any], pad: int) -> tuple[Tensor, Tensor]:
    """Prompts, masks behind them, padding to equal length; and which positions exist."""
    g = torch.Generator().manual_seed(11)
    total = max(case["prompts"]) + case["length"]
    x_BL = torch.full((len(case["prompts"]), total), pad)
    valid_BL = torch.zeros_like(x_BL, dtype=torch.bool)
    for row, prompt in enumerate(case["prompts"]):
        x_BL[row, :prompt] = torch.randint(2, net.vocab_size - 1, (prompt,), generator=g)
        x_BL[row, prompt : prompt + case["length"]] = net.mask_id
        valid_BL[row, : prompt + case["length"]] = True
    return x_BL, valid_BL


def ours(net: ParityNet, case: dict[str, Any], seed: int) -> tuple[Tensor, int]:
    """Tokens and forwards of ``reference``."""
    x_BL, valid_BL = canvas(net, case, net.eos_id)
    torch.manual_seed(seed)
    out = generate_reference(net, x_BL, DecodingPlan(**case["plan"]), case["style"], valid_BL=valid_BL)
    return out.sequences, out.forwards


# -- the peers ------------------------------------------------------------------------------------------------------
class Shim:
    """A denoiser behind the interface that the public samplers call."""

    def __init__(self, net: Denoiser, shifted: bool = False) -> None:
        self.net, self.shifted, self.device, self.calls = net, shifted, torch.device("cpu"), 0

    def __call__(self, input_ids: Tensor, attention_mask: Any = None, *rest: Any, **kwargs: Any) -> Any:
        self.calls += 1
        valid_BL = attention_mask.bool() if isinstance(attention_mask, Tensor) else None
        every_BL = torch.ones_like(input_ids, dtype=torch.bool)
        h = self.net.body(input_ids, valid_BL=valid_BL).h_BLD[every_BL]
        # a very low logit, not -inf: guidance of the public samplers would make NaN of it
        logits = self.net.head(h).clamp(min=-1e4).view(*input_ids.shape, -1)
        if self.shifted:
            logits = torch.cat([logits[:, 1:], logits[:, -1:]], dim=1)
        return types.SimpleNamespace(logits=logits)


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Peers:
    """The public samplers, from files beside."""

    def __init__(self, folder: Path) -> None:
        for name in ("model", "dllm", "dllm.core", "dllm.core.samplers"):
            package = types.ModuleType(name)
            package.__path__ = []
            sys.modules[name] = package
        stub = types.ModuleType("model.modeling_llada")
        stub.LLaDAModelLM = object  # type: ignore[attr-defined]
        sys.modules["model.modeling_llada"] = stub
        self.llada = load(folder / "llada_generate.py", "peer_llada")
        self.fast = load(folder / "fast_generate.py", "peer_fast")
        load(folder / "dllm_alpha.py", "dllm.core.schedulers")
        load(folder / "dllm_base.py", "dllm.core.samplers.base")
        load(folder / "dllm_utils.py", "dllm.core.samplers.utils")
        self.dllm = load(folder / "dllm_mdlm.py", "dllm.core.samplers.mdlm")
        self.dream = load(folder / "dream_generation.py", "peer_dream")

    def run(self, net: Any, case: dict[str, Any], seed: int, x_BL: Tensor | None = None) -> tuple[Tensor, int]:
        """Tokens and forwards of the public sampler."""
        plan = DecodingPlan(**case["plan"])
        x_BL = canvas(net, case, net.eos_id)[0] if x_BL is None else x_BL
        model, style, length = Shim(net, shifted=case["style"] == "dream"), case["style"], case["length"]
        steps, block = plan.steps or length, plan.block_length or length
        remasking = "random" if plan.order == "random" else "low_confidence"
        torch.manual_seed(seed)
        if style == "llada":
            prompt = x_BL[:, : case["prompts"][0]]
            out = self.llada.generate(
                model, prompt, torch.ones_like(prompt), steps, length, block, plan.temperature,
                plan.guide.gamma - 1, remasking, net.mask_id,
            )  # fmt: skip
        elif style == "fast_dllm":
            prompt = x_BL[:, : case["prompts"][0]]
            least = getattr(plan.quota_leaf, "least", None)
            out, _ = self.fast.generate(
                model, prompt, steps, length, block, plan.temperature, remasking, net.mask_id, least
            )
        elif style == "dllm":
            tokenizer = types.SimpleNamespace(mask_token_id=net.mask_id, bos_token_id=0, eos_token_id=net.eos_id)
            sampler = self.dllm.MDLMSampler(model=model, tokenizer=tokenizer)
            prompts = [row[:n].tolist() for row, n in zip(x_BL, case["prompts"], strict=True)]
            out = sampler.sample(
                prompts, max_new_tokens=length, steps=steps, block_size=block, temperature=plan.temperature,
                cfg_scale=plan.guide.gamma - 1, remasking=remasking,
            )  # fmt: skip
        else:
            algorithm = {"drawn_prob": "maskgit_plus", "margin": "topk_margin", "entropy": "entropy", "None": "origin"}
            config = types.SimpleNamespace(
                output_history=False, return_dict_in_generate=False, max_length=x_BL.shape[1],
                mask_token_id=net.mask_id, steps=steps, eps=1e-3, alg=algorithm[str(plan.order).split(":")[0]],
                alg_temp=getattr(plan.order_leaf, "coefficient", 0) or None, temperature=plan.temperature,
                top_p=plan.top_p, top_k=plan.top_k,
            )  # fmt: skip
            prompt = x_BL[:, : case["prompts"][0]]
            mixin = type("Model", (self.dream.DreamGenerationMixin,), {"device": model.device, "__call__": model})
            mixin.__call__ = lambda self, *a, **k: model(*a, **k)
            out = mixin()._sample(prompt, None, config, lambda s, x, lg: x, lambda s, x, lg: lg)
        return out, model.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder with the public samplers' files")
    parser.add_argument("--write", type=Path, help="where to write the golden vectors")
    parser.add_argument("--commits", default="{}", help="JSON: repository to commit, kept with the vectors")
    arguments = parser.parse_args()
    if arguments.peers is None:
        cases = json.loads(GOLDEN.read_text())["cases"]
        wrong = sum(ours(ParityNet(), case, case["seed"])[0].tolist() != case["tokens"] for case in cases)
        print(json.dumps({"benchmark": "golden_parity", "cases": len(cases), "different": wrong}))
        sys.exit(wrong > 0)
    peers = Peers(arguments.peers)
    wrong, golden = 0, []
    for vocab, dtype in ((257, torch.float64), (8192, torch.float32), (32768, torch.float32)):
        net = ParityNet(vocab, dtype)
        for number, case in enumerate(CASES):
            peer, calls = peers.run(net, case, seed=number)
            mine, forwards = ours(net, case, seed=number)
            same = torch.equal(peer, mine) and calls == forwards
            wrong += not same
            if not same:
                print(f"DIFFERS vocab {vocab}: {case} forwards {calls} {forwards}\n{peer}\n{mine}", file=sys.stderr)
            if vocab == 257:
                golden.append({**case, "seed": number, "forwards": calls, "tokens": peer.tolist()})
    print(
        json.dumps(
            {"benchmark": "golden_parity", "cases": 3 * len(CASES), "different": wrong, "torch": torch.__version__}
        )
    )
    if arguments.write and not wrong:
        provenance = {"made by": "benchmarks/golden_parity.py", "torch": torch.__version__}
        content = {"provenance": {**provenance, "commits": json.loads(arguments.commits)}, "cases": golden}
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(case) for case in content["cases"])
        arguments.write.write_text(f'{{"provenance": {json.dumps(content["provenance"])},\n"cases": [\n{lines}\n]}}\n')
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
