"""Training speed and memory: one step of our trainer beside dllm's MDLM trainer and the plain form, on one model.

    python benchmarks/training.py gate   --peer FOLDER --write docs/benchmarks   # the two shapes, one thread and two
    python benchmarks/training.py memory --peer FOLDER --write docs/benchmarks
    python benchmarks/training.py growth --write docs/benchmarks                 # over V, L and batch, and a plot
    python benchmarks/training.py levers --write docs/benchmarks                 # what each choice is worth

FOLDER holds ``dllm/core/{trainers,schedulers}`` of github.com/ZHZisZZ/dllm (which imports torchmetrics); without it the
plain form alone is beside us.
A step is forward, backward, clipping and fused AdamW under bf16 autocast, the same mask law and weights for all (t
uniform, 1/t, a token). Ways are interleaved; figures are medians of CPU time (``process_time``, all threads together)
and of wall time. The plain form makes logits for every position and takes PyTorch's cross-entropy of the hidden ones.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.data.canvas import CanvasDataset, collate
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.training.arguments import TrainArguments
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer
from where import where

#: name -> vocabulary, width, layers: the source's RoBERTa shape and its light bge one
SHAPES = {"V 50,265 d 512 x 6": (50_265, 512, 6), "V 250,002 d 256 x 2": (250_002, 256, 2)}
BATCH, LENGTH = 64, 64
#: a way of ours is "ours" or the settings that it changes
FRUGAL = json.dumps({"gradient_checkpointing": True})

Step = Callable[[dict[str, Tensor]], float]


def model(vocab: int, dim: int, layers: int, length: int) -> MaskedDiffusionModel:
    torch.manual_seed(0)
    return MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=vocab, dim=dim, layers=layers, heads=dim // 64, ffn_dim=4 * dim, max_position_embeddings=length
        )
    )


def rows(vocab: int, batch: int, length: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(3, vocab, (batch, length), generator=g)
    return {"input_ids": ids, "length": torch.full((batch,), length)}


def arguments_of(folder: str, batch: int, bf16: bool = True, **changed: Any) -> dict[str, Any]:
    return dict(
        output_dir=folder, per_device_train_batch_size=batch, max_steps=10_000, bf16=bf16, report_to="none",
        logging_steps=10**6, save_strategy="no", eval_strategy="no", load_best_model_at_end=False,
        disable_tqdm=True, use_cpu=True, seed=0, **changed,
    )  # fmt: skip


def finish(trainer: Any, net: nn.Module) -> None:
    """What Trainer's loop does after the backward pass."""
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    if isinstance(trainer, MaskedDiffusionTrainer):
        trainer.before_update()
    trainer.optimizer.step()
    net.zero_grad(set_to_none=True)
    trainer.state.global_step += 1


def ours(net: MaskedDiffusionModel, batch: int, folder: str, bf16: bool = True, **changed: Any) -> Step:
    """Our trainer; ``changed`` are settings of a recipe."""
    settings = {"weighting": "nelbo", "pad_weight": 1.0, "ema": 0.0, "estimator": "time", "time_power": 1.0, **changed}
    args = TrainArguments(**arguments_of(folder, batch, bf16, **settings))
    data = rows(net.vocab_size, batch, net.config.max_position_embeddings)
    trainer = MaskedDiffusionTrainer(
        law=MaskingProcess(args.estimator, "linear", time_power=args.time_power),  # type: ignore[arg-type]
        model=net,
        args=args,
        train_dataset=CanvasDataset(data["input_ids"].numpy(), data["length"].numpy()),
        data_collator=collate,
    )
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    # Trainer's loop does these first: the second is what turns autocast on
    if args.gradient_checkpointing:
        net.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)
    prepared = trainer.accelerator.prepare_model(net)

    def step(batch: dict[str, Tensor]) -> float:
        trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
        loss = float(trainer.training_step(prepared, batch))
        finish(trainer, net)
        if trainer.ema is not None:
            trainer.ema.update(net)
        return loss

    return step


class AllPositions(nn.Module):
    """The same network as every public trainer calls it: logits for all positions."""

    def __init__(self, net: MaskedDiffusionModel) -> None:
        super().__init__()
        self.net, self.config = net, net.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        features, weight, bias = self.net.project(self.net.body(input_ids).h_BLD)
        return types.SimpleNamespace(logits=F.linear(features, weight, bias))


def plain(net: MaskedDiffusionModel, batch: int, folder: str, bf16: bool = True) -> Step:
    """The straightforward form."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    whole = AllPositions(net)

    def step(batch: dict[str, Tensor]) -> float:
        ids = batch["input_ids"]
        t_B = torch.rand(len(ids)).clamp(min=1e-3)
        masked_BL = torch.rand(ids.shape) < t_B[:, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = whole(ids.masked_fill(masked_BL, net.mask_id)).logits
            ce_BL = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
        loss = (ce_BL * masked_BL / t_B[:, None]).sum() / ids.numel()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def dllm(net: MaskedDiffusionModel, batch: int, folder: str, peer: Path, bf16: bool = True) -> Step:
    """dllm's MDLMTrainer, its files taken as they are; what they import of the rest of dllm is two stand-ins."""
    import transformers

    for name in ("dllm", "dllm.core", "dllm.core.schedulers", "dllm.core.trainers", "dllm.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(peer / name.replace(".", "/"))]
        sys.modules[name] = package
    import importlib

    configs, data = types.ModuleType("dllm.utils.configs"), types.ModuleType("dllm.utils.data")
    configs.TrainingArguments = transformers.TrainingArguments  # type: ignore[attr-defined]
    data.prepend_bos = None  # type: ignore[attr-defined]  # for shifted logits alone
    sys.modules |= {"dllm.utils.configs": configs, "dllm.utils.data": data}
    alpha = importlib.import_module("dllm.core.schedulers.alpha")
    sys.modules["dllm.core.schedulers"].__dict__.update(alpha.__dict__)
    mdlm = importlib.import_module("dllm.core.trainers.mdlm")
    trainer = mdlm.MDLMTrainer(
        args=mdlm.MDLMConfig(**arguments_of(folder, batch, bf16, optim="adamw_torch_fused")),
        model=AllPositions(net),
        processing_class=types.SimpleNamespace(padding_side="right", mask_token_id=net.mask_id),
    )
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1
    prepared = trainer.accelerator.prepare_model(trainer.model)

    def step(batch: dict[str, Tensor]) -> float:
        ids = batch["input_ids"]
        loss = float(trainer.training_step(prepared, {"input_ids": ids, "labels": ids, "attention_mask": None}))
        finish(trainer, net)
        return loss

    return step


def steps_of(ways: list[str], net_of: Callable[[], MaskedDiffusionModel], batch: int, peer: Path | None) -> Any:
    folder = tempfile.mkdtemp()
    made: dict[str, Step] = {}
    for way in ways:
        if way == "ours":
            made[way] = ours(net_of(), batch, folder)
        elif way == "plain":
            made[way] = plain(net_of(), batch, folder)
        elif way == "dllm" and peer is not None:
            made[way] = dllm(net_of(), batch, folder, peer)
        elif way.startswith("{"):
            made[way] = ours(net_of(), batch, folder, **json.loads(way))
    return made


def timed(made: dict[str, Step], batch: dict[str, Tensor], repeats: int) -> dict[str, dict[str, float]]:
    """Interleaved rounds; medians of CPU and wall seconds a step, and the last loss."""
    cpu: dict[str, list[float]] = {way: [] for way in made}
    wall: dict[str, list[float]] = {way: [] for way in made}
    loss = {}
    for turn in range(repeats + 1):
        for way, step in made.items():
            start, clock = time.process_time(), time.perf_counter()
            loss[way] = step(batch)
            if turn:  # the first round warms up
                cpu[way].append(time.process_time() - start)
                wall[way].append(time.perf_counter() - clock)
    return {
        way: {
            "cpu_s": round(statistics.median(cpu[way]), 3),
            "wall_s": round(statistics.median(wall[way]), 3),
            "wall_s_least": round(min(wall[way]), 3),
            "loss_nats": round(loss[way], 3),
        }
        for way in made
    }


def ceiling(dtype: torch.dtype = torch.bfloat16, size: int = 2048, repeats: int = 7) -> float:
    """GFLOP a second of a square product, the best of some: what this machine's matrix unit gives."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        _ = a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def flops(net: MaskedDiffusionModel, batch: int, length: int, masked: float) -> float:
    """Floating-point operations of the matrix products of a step: forward and twice that backward."""
    c = net.config
    body = sum(p.numel() for n, p in net.named_parameters() if n.startswith("blocks.") and p.ndim == 2)
    attention = c.layers * 2 * length * c.dim
    head = masked * c.dim * c.vocab_size
    return 6.0 * batch * length * (body + attention + head)


def cell(task: dict[str, Any]) -> dict[str, Any]:
    """One measurement in a process of its own."""
    torch.set_num_threads(task["threads"])
    peer = Path(task["peer"]) if task.get("peer") else None
    vocab, dim, layers, batch, length = (task[k] for k in ("vocab", "dim", "layers", "batch", "length"))
    data = rows(vocab, batch, length)
    made = steps_of(task["ways"], lambda: model(vocab, dim, layers, length), batch, peer)
    if task.get("memory"):
        (step,) = made.values()
        step({k: v[:1] for k, v in data.items()})
        rest = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        step(data)
        step(data)
        return {
            "rest_mib": round(rest),
            "peak_mib": round(resident("VmHWM")),
            "step_mib": round(resident("VmHWM") - rest),
        }
    found: dict[str, Any] = {"ways": timed(made, data, task["repeats"])}
    net = model(vocab, dim, layers, length)
    if task.get("ceiling"):
        gflops = ceiling()
        found["gemm_gflops"] = round(gflops)
        mine = found["ways"]["ours"]["wall_s"]
        found["tokens_a_second"] = round(batch * length / mine)
        found["share_of_gemm"] = round(flops(net, batch, length, 0.5) / mine / 1e9 / gflops, 3)
    return found


def resident(what: str) -> float:
    """MiB of this process's memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def apart(**task: Any) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(task["threads"])}
    words = [sys.executable, __file__, "cell", "--task", json.dumps(task)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = json.loads(done.stdout.splitlines()[-1])
    print({k: v for k, v in task.items() if k != "peer"}, found, flush=True)
    return found


def gate(peer: Path | None, repeats: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (vocab, dim, layers) in SHAPES.items():
        for threads in (1, 2):
            ways = ["ours", *(["dllm"] if peer else []), "plain"]
            got = apart(
                vocab=vocab, dim=dim, layers=layers, batch=BATCH, length=LENGTH, threads=threads, ways=ways,
                repeats=repeats, peer=str(peer) if peer else None, ceiling=True,
            )  # fmt: skip
            cpu = {way: v["cpu_s"] for way, v in got["ways"].items()}
            got["times_faster"] = round(min(v for way, v in cpu.items() if way != "ours") / cpu["ours"], 2)
            found[f"{name}, {threads} thread{'s' if threads > 1 else ''}"] = got
    return found


def memory(peer: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (vocab, dim, layers) in SHAPES.items():
        got = {
            way: apart(
                vocab=vocab, dim=dim, layers=layers, batch=BATCH, length=LENGTH, threads=1, ways=[way],
                peer=str(peer) if peer else None, memory=True,
            )
            for way in ["ours", FRUGAL, *(["dllm"] if peer else []), "plain"]
        }  # fmt: skip
        least = min(v["step_mib"] for way, v in got.items() if way in ("dllm", "plain"))
        found[name] = {way: {**v, "of_leanest_peer": round(v["step_mib"] / least, 3)} for way, v in got.items()}
    return found


def growth() -> list[dict[str, Any]]:
    found = []
    base = {"vocab": 32_768, "length": 64, "batch": 32}
    spread = {"vocab": (2_048, 8_192, 32_768, 131_072), "length": (32, 64, 128, 256), "batch": (8, 16, 32, 64)}
    for what, values in spread.items():
        for value in values:
            task = {**base, what: value}
            got = apart(**task, dim=256, layers=2, threads=1, ways=["ours", "plain"], repeats=3)["ways"]
            used = {
                way: apart(**task, dim=256, layers=2, threads=1, ways=[way], memory=True)["step_mib"]
                for way in ("ours", "plain")
            }
            found.append({"over": what, **task, **{w: {**got[w], "step_mib": used[w]} for w in got}})
    return found


def levers(repeats: int) -> dict[str, Any]:
    """Our step with one choice changed."""
    changed = {
        "ours": "ours",
        "fp32": json.dumps({"bf16": False}),
        "with the weight average": json.dumps({"ema": 0.999}),
        "AdamW not fused": json.dumps({"optim": "adamw_torch"}),
        "gradient checkpointing": FRUGAL,
        "more high masks (the recipes' t = sqrt(u))": json.dumps({"time_power": 2.0}),
        "compiled": json.dumps({"torch_compile": True}),
    }
    found: dict[str, Any] = {}
    for name, (vocab, dim, layers) in {"V 4,096 d 192 x 4": (4_096, 192, 4), **SHAPES}.items():
        if name.startswith("V 250"):
            continue
        found[name] = {}
        for what, way in changed.items():
            got = apart(
                vocab=vocab, dim=dim, layers=layers, batch=BATCH, length=LENGTH, threads=1, ways=["ours", way],
                repeats=repeats,
            )["ways"]  # fmt: skip
            found[name][what] = round(got[way]["cpu_s"] / got["ours"]["cpu_s"], 2)
    return found


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds and memory of a step over vocabulary, length and batch."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    axes_of = ("vocab", "length", "batch")
    named = {"vocab": "vocabulary V", "length": "length L", "batch": "rows a batch"}
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharey="row")
    for column, what in enumerate(axes_of):
        mine = [r for r in table if r["over"] == what]
        for way, marker in (("ours", "o"), ("plain", "s")):
            x = [r[what] for r in mine]
            axes[0][column].plot(x, [r[way]["cpu_s"] for r in mine], marker=marker, label=way)
            axes[1][column].plot(x, [max(r[way]["step_mib"], 1) for r in mine], marker=marker, label=way)
        for axis in axes[:, column]:
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(x, [f"{v:,}" for v in x])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        axes[1][column].set_xlabel(named[what])
    axes[0][0].set_ylabel("CPU seconds a step, one thread")
    axes[1][0].set_ylabel("MiB a step takes above rest")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def page(result: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    at = result["measured"]
    lines = [
        "# Training speed and memory",
        "",
        "Written by `benchmarks/training.py`: "
        + "; ".join(f"{part} at {a['commit']} (torch {a['torch']}, {a['device']})" for part, a in at.items())
        + ".",
        "",
        f"One step (forward, backward, clipping, fused AdamW; bf16 autocast) of {BATCH} rows of {LENGTH} tokens on the "
        "same network under the same mask law (t uniform, weight 1/t). `dllm` is MDLMTrainer of github.com/ZHZisZZ/dllm"
        f" ({result.get('peer', 'not measured')}), `plain` all-position logits and PyTorch's cross-entropy.",
        "",
    ]
    if "gate" in result:
        lines += [
            "| shape | way | CPU s a step | wall s | times faster than the fastest peer |",
            "|---|---|---|---|---|",
        ]
        for name, got in result["gate"].items():
            for way, v in got["ways"].items():
                times = got["times_faster"] if way == "ours" else ""
                lines.append(f"| {name} | {way} | {v['cpu_s']:.2f} | {v['wall_s']:.2f} | {times} |")
        lines += [
            "",
            "| shape | tokens a second | matrix products, share of the machine's GEMM peak |",
            "|---|---|---|",
        ]
        for name, got in result["gate"].items():
            peak = f"{got['share_of_gemm']:.0%} of {got['gemm_gflops']:,} GFLOP/s"
            lines.append(f"| {name} | {got['tokens_a_second']:,} | {peak} |")
    if "memory" in result:
        lines += [
            "",
            "Peak memory in MiB, of a step above the resting process (weights, optimiser state) and of the process:",
            "",
            "| shape | way | step | process | step, of the leanest peer's |",
            "|---|---|---|---|---|",
        ]
        for name, got in result["memory"].items():
            for way, v in got.items():
                title = "ours, gradient_checkpointing" if way == FRUGAL else way
                lines.append(
                    f"| {name} | {title} | {v['step_mib']:,} | {v['peak_mib']:,} | {v['of_leanest_peer']:.2f} |"
                )
    if "growth" in result:
        lines += ["", "## Growth", "", "Two layers of 256, V 32,768, L 64, 32 rows, one of them varied.", ""]
        lines += ["![CPU seconds and memory of a step](training.svg)", ""]
        lines += ["| V | L | rows | ours s | plain s | ours MiB | plain MiB |", "|---|---|---|---|---|---|---|"]
        for r in result["growth"]:
            o, p = r["ours"], r["plain"]
            lines.append(
                f"| {r['vocab']:,} | {r['length']} | {r['batch']} | {o['cpu_s']:.2f} | {p['cpu_s']:.2f} | "
                f"{o['step_mib']:,} | {p['step_mib']:,} |"
            )
    if "levers" in result:
        lines += ["", "## One choice changed", "", "CPU time of our step against our step (1.00), one thread.", ""]
        shapes = list(result["levers"])
        lines += [f"| | {' | '.join(shapes)} |", "|---" * (1 + len(shapes)) + "|"]
        for what in next(iter(result["levers"].values())):
            lines.append(f"| {what} | {' | '.join(format(result['levers'][s][what], '.2f') for s in shapes)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("gate", "memory", "growth", "levers", "cell"))
    parser.add_argument("--peer", type=Path, help="folder with dllm's files")
    parser.add_argument("--peer-commit", default="", help="kept with the numbers")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds behind each median")
    parser.add_argument("--write", type=Path, help="folder for training.json, .md and .svg")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "cell":
        print(json.dumps(cell(json.loads(arguments.task))))
        return
    makers: dict[str, Callable[[], Any]] = {
        "gate": lambda: gate(arguments.peer, arguments.repeats),
        "memory": lambda: memory(arguments.peer),
        "growth": growth,
        "levers": lambda: levers(arguments.repeats),
    }
    found = {arguments.part: makers[arguments.part]()}
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        file = arguments.write / "training.json"
        result = json.loads(file.read_text()) if file.is_file() else {"benchmark": "training", "measured": {}}
        result |= found
        result["measured"][arguments.part] = where()
        if arguments.peer_commit:
            result["peer"] = arguments.peer_commit
        file.write_text(json.dumps(result, indent=1) + "\n")
        (arguments.write / "training.md").write_text(page(result))
        if "growth" in result:
            plot(result["growth"], arguments.write / "training.svg")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
