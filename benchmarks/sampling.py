"""Sampling speed: ours beside the public samplers on one random model, one thread, CPU time. Last line is JSON.

    python benchmarks/sampling.py                        # ours, the floor, and our own copy of the field's algorithm
    python benchmarks/sampling.py --peers <folder>       # beside LLaDA, Fast-dLLM and dllm (see golden_parity.py)
    python benchmarks/sampling.py --table --write docs/benchmarks   # instead the cost over V, L and steps, and a plot

The gate: 4 layers of width 256, 32,768 ids, 16 given and 64 written tokens in two blocks of 32, one token a forward.
All runs are interleaved; figures are medians of CPU time, ratios are taken within the run. The floor is what a sampler
cannot avoid: 64 passes of the whole body and the head on the positions still hidden in the open block, once with the
model's own head and once with the head laid out (decoding.packed_lm_head). Ours runs less of the last layer than that
(``Denoiser.body_at``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from golden_parity import GOLDEN, Peers
from unmask.core.denoiser import Body, Denoiser
from unmask.decoding.packed_lm_head import PackedLMHead
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from where import Others, where


class RandomModel(nn.Module, Denoiser):
    """A plain pre-norm transformer with random weights; the samplers differ, the model does not."""

    def __init__(self, vocab_size: int, width: int = 256, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vocab_size, self.mask_id, self.eos_id, self.heads = vocab_size, vocab_size - 1, 1, heads
        self.embed = torch.randn(vocab_size, width) * 0.5
        self.place = torch.randn(1024, width) * 0.5
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width),
                    "up": nn.Linear(width, 4 * width),
                    "down": nn.Linear(4 * width, width),
                }
            )
            for _ in range(layers)
        )

    def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
        return self.body_at(x_BL, None)

    def body_at(self, x_BL: Tensor, at_BL: Tensor | None, *args: Any, **kwargs: Any) -> Body:
        """As our own denoiser: behind the last attention only the rows that are read go on."""
        B, L = x_BL.shape
        x = self.embed[x_BL] + self.place[:L]
        at = None if at_BL is None else at_BL.nonzero(as_tuple=True)
        for i, block in enumerate(self.blocks):
            q, k, v = block["qkv"](block["norm1"](x)).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, L, -1)
            if at is not None and i == len(self.blocks) - 1:
                x, mixed = x[at], mixed[at]
            x = x + block["out"](mixed)
            x = x + block["down"](nn.functional.gelu(block["up"](block["norm2"](x))))
        rows = nn.functional.layer_norm(x, x.shape[-1:])
        return Body(rows if at is None else rows.new_zeros(B, L, rows.shape[-1]).index_put(at, rows))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.embed, None


def interleaved(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each run, round by round; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(above: list[float], below: list[float]) -> list[float]:
    """Median and quartiles of the ratios within a round: the machine's own ups and downs cancel there."""
    quarters = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return [round(q, 2) for q in (quarters[1], quarters[0], quarters[2])]


def gate(folder: Path | None, repeats: int) -> dict[str, Any]:
    """Ours, the floor and the public samplers in the setting that the project promises."""
    net = RandomModel(32_768)
    prompt, length, block = 16, 64, 32
    x_BL = torch.randint(2, net.vocab_size - 1, (1, prompt + length), generator=torch.Generator().manual_seed(1))
    x_BL[:, prompt:] = net.mask_id
    share: dict[str, Any] = {"quota": "linear", "steps": length, "block_length": block}

    def body() -> None:
        for _ in range(length):
            net.body(x_BL)

    def floor(laid_out: bool) -> None:
        head = PackedLMHead(net, length) if laid_out else net.head
        for _ in range(length // block):
            for hidden in range(block, 0, -1):
                head(net.body(x_BL).h_BLD[0, :hidden])

    runs: dict[str, Callable[[], Any]] = {
        "body": body,
        "floor, the model's head": lambda: floor(False),
        "floor, head laid out": lambda: floor(True),
    }
    peers = None if folder is None else Peers(folder)
    for heat in (0.0, 1.0):
        for order in ("top_prob", "margin", "random"):
            plan = DecodingPlan(order=order, temperature=heat, **share)
            runs[f"unmask {order} T={heat:g}"] = lambda plan=plan: generate(net, x_BL, plan, trace=None).sequences  # type: ignore[misc]
        slow = DecodingPlan(order="drawn_prob", temperature=heat, **share)
        if peers is None:
            runs[f"peer reference T={heat:g}"] = lambda slow=slow: generate(net, x_BL, slow, reference=True).sequences  # type: ignore[misc]
            continue
        for style in ("llada", "fast_dllm", "dllm"):
            case = {"style": style, "prompts": [prompt], "length": length, "plan": slow.to_dict()}
            runs[f"peer {style} T={heat:g}"] = lambda case=case: peers.run(net, case, 0, x_BL)[0]  # type: ignore[misc,union-attr]
    rounds = interleaved(runs, repeats)
    result: dict[str, Any] = {"seconds": {k: round(statistics.median(v), 4) for k, v in rounds.items()}}
    for t in ("0", "1"):
        mine, laid_out = rounds[f"unmask top_prob T={t}"], rounds["floor, head laid out"]
        them = [v for k, v in rounds.items() if k.startswith("peer") and k.endswith(f"T={t}")]
        fastest = min(them, key=statistics.median)
        result[f"times_faster_T{t}"] = ratio(fastest, mine)
        result[f"of_floor_T{t}"] = ratio(mine, rounds["floor, the model's head"])
        result[f"of_laid_out_floor_T{t}"] = ratio(mine, laid_out)
        result[f"floor_times_faster_T{t}"] = ratio(fastest, laid_out)
    first = next(k for k in runs if k.startswith("peer") and k.endswith("T=0"))
    result["same_tokens_T0"] = bool(torch.equal(runs["unmask top_prob T=0"](), runs[first]()))
    return result


# -- the table ------------------------------------------------------------------------------------------------------
WAYS: dict[str, dict[str, Any]] = {
    "L steps": {"quota": "linear"},
    "L/4 steps": {"quota": "linear", "steps": 4},
    "adaptive": {"quota": "entropy_bound:nats=4.0"},
    "field, L steps": {"quota": "linear"},
}


def memory_kib(name: str) -> int:
    """``VmRSS``, resident memory now, or ``VmHWM``, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def cell(vocab: int, length: int, way: str) -> dict[str, Any]:
    """Cost of writing the last 32 of L tokens at temperature 1; in a process of its own for its peak memory."""
    torch.set_num_threads(1)
    net = RandomModel(vocab)
    x_BL = torch.randint(2, vocab - 1, (1, length), generator=torch.Generator().manual_seed(1))
    x_BL[:, -32:] = net.mask_id
    settings = dict(WAYS[way])
    settings["steps"] = 32 // settings["steps"] if "steps" in settings else None
    field = way.startswith("field")
    plan = DecodingPlan(order="drawn_prob" if field else "top_prob", **settings)
    seconds, forwards = [], 0
    # Linux: forget the peak so far, which a child process inherits from whoever started it
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_kib("VmRSS")
    with torch.no_grad():
        for _ in range(1 if field else 3):  # the field's way takes minutes
            start = time.process_time()
            forwards = generate(net, x_BL, plan, trace=None, reference=field).forwards
            seconds.append(time.process_time() - start)
    after = memory_kib("VmHWM")
    ms = 1000 * statistics.median(seconds)
    return {
        "vocab": vocab,
        "length": length,
        "way": way,
        "forwards": forwards,
        "ms_a_forward": round(ms / forwards, 2),
        "ms_a_token": round(ms / 32, 2),
        "peak_mib": round((after - before) / 1024),
    }


def table() -> list[dict[str, Any]]:
    rows = []
    for vocab in (2_000, 32_000, 128_000, 250_000):
        for length in (64, 256, 1024):
            for way in WAYS:
                if way.startswith("field") and vocab * length > 20_000_000:
                    continue  # its fp64 noise alone is 160 MB a forward
                arguments = [sys.executable, __file__, "--cell", str(vocab), str(length), way]
                done = subprocess.run(arguments, capture_output=True, text=True, check=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print("{vocab:>7} {length:>5} {way:<15} {ms_a_forward:>8} ms a forward, {ms_a_token:>8} ms a token, "
                      "{peak_mib:>5} MiB".format(**rows[-1]))  # fmt: skip
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Cost a token against the vocabulary, one panel a length."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    lengths = sorted({r["length"] for r in rows})
    figure, axes = plt.subplots(1, len(lengths), figsize=(11, 3.6), sharey=True)
    for axis, length in zip(axes, lengths, strict=True):
        for way, marker in zip(WAYS, "osd^", strict=True):
            mine = [r for r in rows if r["length"] == length and r["way"] == way]
            axis.plot([r["vocab"] for r in mine], [r["ms_a_token"] for r in mine], marker=marker, label=way)
        axis.set(title=f"L = {length}", xlabel="vocabulary", xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("CPU ms a token, one thread")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


RATIOS = (
    ("times faster than the fastest public sampler", "times_faster"),
    ("the same for the floor with the head laid out", "floor_times_faster"),
    ("share of the floor with the model's head", "of_floor"),
    ("share of the floor with the head laid out", "of_laid_out_floor"),
)


def gate_page(result: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    seconds = result["seconds"]
    against = "`peer reference` is our own copy of the field's algorithm."
    if "peers" in result:
        against = f"Public samplers at {', '.join(f'{name} {commit}' for name, commit in result['peers'].items())}."
    lines = [
        "# Sampling speed",
        "",
        f"Written by `benchmarks/sampling.py` at commit {result['commit']} on {result['device']}, {result['threads']} "
        f"thread, torch {result['torch']}.",
        "",
        "One random model (4 layers of 256, 32,768 ids), 16 given and 64 written tokens in blocks of 32, 64 forwards. "
        f"CPU seconds, medians of {result['repeats']} interleaved rounds (ratios: taken within a round, median and "
        "quartiles), while other processes took "
        f"{result['share_of_the_machine_taken_by_others']:.0%} of the machine. {against}",
        "",
        "| | T = 0 | T = 1 |",
        "|---|---|---|",
    ]
    for name in dict.fromkeys(k.rsplit(" T=", 1)[0] for k in seconds):
        zero, one = (seconds.get(f"{name} T={t}", seconds.get(name)) for t in (0, 1))
        lines.append(f"| {name} | {zero:.2f} | {one:.2f} |")
    lines += ["", "| top_prob | T = 0 | T = 1 |", "|---|---|---|"]
    told = {f"{k}_T{t}": "{:.2f} [{:.2f}, {:.2f}]".format(*result[f"{k}_T{t}"]) for _, k in RATIOS for t in (0, 1)}
    lines += [f"| {name} | {told[f'{key}_T0']} | {told[f'{key}_T1']} |" for name, key in RATIOS]
    same = "the same tokens as" if result["same_tokens_T0"] else "OTHER tokens than"
    lines += ["", f"At T = 0 ours writes {same} the first public sampler.", ""]
    lines += ["Another page: [over vocabulary, length and steps](sampling_table.md).", ""]
    return "\n".join(lines)


def table_page(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    keys = ("vocab", "length", "way", "forwards", "ms_a_forward", "ms_a_token", "peak_mib")
    lines = [
        "# Sampling speed over vocabulary, length and steps",
        "",
        f"Written by `benchmarks/sampling.py --table` at commit {result['commit']} on {result['device']}, "
        f"{result['threads']} thread, torch {result['torch']}, while other processes took "
        f"{result['share_of_the_machine_taken_by_others']:.0%} of the machine.",
        "",
        "The last 32 of L tokens at temperature 1: CPU ms (medians of 3), peak memory above the model's. `field` "
        "is the public samplers' algorithm (`reference=True`, once), without cells whose noise needs 160 MB.",
        "",
        "![cost a token](sampling_table.svg)",
        "",
        "| V | L | way | forwards | ms a forward | ms a token | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(str(row[key]) for key in keys)} |" for row in result["table"]]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder with the public samplers' files (see golden_parity.py)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved rounds behind each median")
    parser.add_argument("--table", action="store_true", help="instead the cost over vocabulary, length and steps")
    parser.add_argument("--write", type=Path, help="folder for what was measured, as JSON, page and plot")
    parser.add_argument("--cell", nargs=3, metavar=("V", "L", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        vocab, length, way = arguments.cell
        print(json.dumps(cell(int(vocab), int(length), way)))
        return
    torch.set_num_threads(1)
    others = Others()
    result: dict[str, Any] = {"benchmark": "sampling_table" if arguments.table else "sampling"}
    if arguments.table:
        result["table"] = table()
    else:
        with torch.no_grad():
            result |= {"repeats": arguments.repeats, **gate(arguments.peers, arguments.repeats)}
        for name, value in result["seconds"].items():
            print(f"{name:<28} {value:>8.3f} s")
        if arguments.peers:
            result["peers"] = json.loads(GOLDEN.read_text())["provenance"]["commits"]
    result |= {"share_of_the_machine_taken_by_others": round(others.share, 3), **where()}
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        stem = arguments.write / result["benchmark"]
        stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        stem.with_suffix(".md").write_text(table_page(result) if arguments.table else gate_page(result))
        if arguments.table:
            plot(result["table"], stem.with_suffix(".svg"))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
