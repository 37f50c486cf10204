"""Robustness: processes killed at random moments, full and read-only disks, damaged files, fuzzed input; ends in JSON.

    python benchmarks/robustness.py --write docs/benchmarks
    python benchmarks/robustness.py --kills 6 --flips 30 --fuzz 100      # a short one

A *kill* is SIGKILL of a real process (a fork of this one, so that imports cost nothing) at a moment drawn uniformly
over the work. The work is started again, and killed again, until it ends by itself; it survived if the result then
equals the undisturbed one bit for bit. A *damage* survives if it is refused in one sentence or leaves the result as it
was. A *fuzz* case survives if it works or is refused in one sentence, with exit code 0, 1 or 2 and no traceback, and no
file is written outside its folder.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from unmask import api
from unmask.core.errors import UnmaskError
from unmask.data.latents import cached_latents
from unmask.data.text import load_texts
from unmask.models.text_model import TextModel, load_native
from unmask.training.checkpoint import STAGING, checkpoints, last_checkpoint
from unmask.training.recipe import parse
from where import where

WORDS = "light darkness water earth heaven day night field seed tree".split()


# -- a process that may die -----------------------------------------------------------------------------------------
def fork(work: Callable[[], Any], setup: Callable[[], None] = lambda: None) -> int:
    """Start ``work`` in a copy of this process, quietly; its exit code is 0, or 2 for a sentence to the user."""
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        setup()
        work()
        code = 0
    except UnmaskError:
        code = 2
    except BaseException:  # what a user would see as a traceback
        code = 3
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Exit code; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until_done(work: Callable[[], Any], length: float, kills: int, rng: random.Random, look: Callable[[], None]) -> int:
    """Start, kill at a random moment, start again; at most ``kills`` times, then let it end. Returns the kills."""
    done = 0
    while done < kills:
        pid = fork(work)
        time.sleep(rng.uniform(0, length))
        os.kill(pid, signal.SIGKILL)
        code = ended(pid)
        look()
        if code == 0:  # it was quicker
            return done
        if code != -signal.SIGKILL:
            raise SystemExit(f"a restarted process failed with code {code}")
        done += 1
    code = ended(fork(work))
    if code:
        raise SystemExit(f"a restarted process failed with code {code}")
    return done


# -- the work -------------------------------------------------------------------------------------------------------
def write_texts(path: Path) -> Path:
    g = torch.Generator().manual_seed(0)
    lines = [" ".join(WORDS[int(i)] for i in torch.randint(0, 10, (5,), generator=g)) for _ in range(260)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def recipe(texts: Path, folder: Path, **changed: Any) -> Any:
    settings = dict(
        data=str(texts), task="unconditional", conditioning="none", vocab_size=300, length=12, dim=32, layers=2,
        heads=2, ffn_dim=64, validation=0.2, max_steps=60, save_steps=3, eval_steps=6, logging_steps=1, warmup_steps=2,
        per_device_train_batch_size=16, bf16=False, report_to="none", disable_tqdm=True, probe_texts=4, eval_texts=16,
        output_dir=str(folder), learning_rate=0.01, ema=0.9, dropout=0.1,
        load_best_model_at_end=False,
    )  # fmt: skip
    return parse({**settings, **changed})


def result_of(run: Path) -> tuple[Any, Any]:
    """The curve and every weight."""
    newest = Path(str(last_checkpoint(run)))
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    curve = [(h["step"], h.get("loss"), h.get("eval_loss")) for h in history if "loss" in h or "eval_loss" in h]
    return curve, load_native(run).denoiser.state_dict()


def same(a: tuple[Any, Any], b: tuple[Any, Any]) -> bool:
    return a[0] == b[0] and all(torch.equal(v, b[1][k]) for k, v in a[1].items()) and a[1].keys() == b[1].keys()


class Slow:
    """An encoder that takes its time, so that there is something to interrupt."""

    width, identity = 26, "letters"

    def encode(self, texts: Any, batch_size: int = 64, progress: bool = False) -> Any:
        time.sleep(0.01)
        return np.array([[t.count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)


def killed_training(root: Path, texts: Path, kills: int, rng: random.Random, **changed: Any) -> dict[str, Any]:
    def run(folder: Path) -> None:
        api.train(recipe(texts, folder, **changed))

    start = time.perf_counter()
    assert ended(fork(lambda: run(root / "whole"))) == 0
    length = time.perf_counter() - start
    whole = result_of(root / "whole")
    found = {"trials": 0, "kills": 0, "kills_in_a_half_written_checkpoint": 0, "survived": 0, "lost": 0}
    while found["kills"] < kills:
        folder = root / f"killed{found['trials']}"

        def look(folder: Path = folder) -> None:
            half = folder / STAGING
            found["kills_in_a_half_written_checkpoint"] += half.is_dir() and any(half.glob("checkpoint-*"))
            last_checkpoint(folder)  # raises if anything half-written passes for a checkpoint

        found["kills"] += until_done(lambda folder=folder: run(folder), length, 4, rng, look)
        found["trials"] += 1
        found["survived" if same(whole, result_of(folder)) else "lost"] += 1
        shutil.rmtree(folder)
    return found


def killed_latents(root: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    texts = [f"{WORDS[i % 10]} {i}" for i in range(600)]
    truth = Slow().encode(texts)

    def run(folder: Path) -> Any:
        return cached_latents(texts, Slow(), folder, shard_rows=10, progress=False)

    start = time.perf_counter()
    run(root / "whole")
    length = time.perf_counter() - start
    found = {"trials": 0, "kills": 0, "survived": 0, "lost": 0}
    while found["kills"] < kills:
        folder = root / f"killed{found['trials']}"
        found["kills"] += until_done(lambda folder=folder: run(folder), length, 4, rng, lambda: None)
        found["trials"] += 1
        found["survived" if np.array_equal(run(folder)[:], truth) else "lost"] += 1
    return found


def killed_evaluation(root: Path, model: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    def run(folder: Path) -> None:
        api.evaluate(load_native(model), texts=32, steps=4, judge=None, samples=4).save(folder)

    start = time.perf_counter()
    assert ended(fork(lambda: run(root / "whole"))) == 0
    length = time.perf_counter() - start
    truth = json.loads((root / "whole" / "metrics.json").read_text())
    found = {"trials": 0, "kills": 0, "survived": 0, "lost": 0}
    while found["kills"] < kills:
        folder = root / f"killed{found['trials']}"
        halves = []

        def look(folder: Path = folder, halves: list[bool] = halves) -> None:
            for file in folder.glob("*.json"):  # there as a whole or not at all
                halves.append(json.loads(file.read_text()) != truth)

        found["kills"] += until_done(lambda folder=folder: run(folder), 1.1 * length, 4, rng, look)
        found["trials"] += 1
        good = not any(halves) and json.loads((folder / "metrics.json").read_text()) == truth
        found["survived" if good else "lost"] += 1
    return found


def killed_saves(root: Path, model: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """A finished folder is written over by another model, and killed: it is the one, the other, or refused."""
    one = load_native(model)
    two = load_native(model)
    with torch.no_grad():
        for p in two.denoiser.parameters():  # type: ignore[attr-defined]
            p.add_(1.0)
    known = [{k: v.clone() for k, v in m.denoiser.state_dict().items()} for m in (one, two)]  # type: ignore[attr-defined]
    folder = root / "model"
    one.save(folder)
    start = time.perf_counter()
    two.save(root / "other")
    length = time.perf_counter() - start
    found = {"trials": 0, "kills": 0, "refused": 0, "survived": 0, "lost": 0}
    while found["kills"] < kills:
        pid = fork(lambda: (two if found["trials"] % 2 else one).save(folder))
        time.sleep(rng.uniform(0, 2 * length))
        os.kill(pid, signal.SIGKILL)
        found["kills"] += ended(pid) == -signal.SIGKILL
        found["trials"] += 1
        try:
            state = load_native(folder).denoiser.state_dict()  # type: ignore[attr-defined]
            whole = any(all(torch.equal(state[k], v) for k, v in one_of.items()) for one_of in known)
            found["survived" if whole else "lost"] += 1
        except UnmaskError:
            found["refused"] += 1
            found["survived"] += 1
            one.save(folder)
    return found


# -- disks ----------------------------------------------------------------------------------------------------------
def mounted(kind: str, target: Path, options: str, source: str = "none", flags: int = 0) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    target.mkdir(parents=True, exist_ok=True)
    words = [w.encode() if w else None for w in (source, str(target), kind)]
    return libc.mount(*words, flags, options.encode() or None) == 0


def disks(root: Path, texts: Path) -> dict[str, Any]:
    """Training on a disk that fills up, at sizes from nothing to nearly enough, and in a read-only folder."""
    found: dict[str, Any] = {"full": 0, "read_only": 0, "survived": 0, "lost": 0, "sentences": []}
    libc = ctypes.CDLL(None)
    for size in (16, 64, 200, 300, 400, 500, 600, 700, 800):
        disk = root / f"disk{size}"
        if not mounted("tmpfs", disk, f"size={size}k"):
            found["full"] = "not tried: no right to mount"
            break
        found["full"] += 1
        said = _said(lambda disk=disk: api.train(recipe(texts, disk / "run", save_total_limit=9, max_steps=12)))
        left = checkpoints(disk / "run") if (disk / "run").is_dir() else []
        whole = not left or last_checkpoint(disk / "run") == str(left[-1])
        found["survived" if whole and said[0] == "UnmaskError" else "lost"] += 1
        found["sentences"].append(f"{size} kB, {len(left)} checkpoints whole: {said[1][:160]}")
        libc.umount2(str(disk).encode(), 2)
    folder = root / "read_only"
    folder.mkdir()
    if libc.mount(str(folder).encode(), str(folder).encode(), None, 4096, None) == 0:  # bind
        libc.mount(None, str(folder).encode(), None, 4096 | 32 | 1, None)  # remount, read-only
        found["read_only"] = 1
        said = _said(lambda: api.train(recipe(texts, folder / "run")))
        found["survived" if said[0] == "UnmaskError" else "lost"] += 1
        found["sentences"].append(f"read-only: {said[1][:160]}")
        libc.umount2(str(folder).encode(), 2)
    return found


def _said(work: Callable[[], Any]) -> tuple[str, str]:
    """The kind of error and its text, from a fork."""
    read, write = os.pipe()

    def run() -> None:
        kind, text = "nothing", ""
        try:
            work()
        except UnmaskError as error:
            kind, text = "UnmaskError", str(error)
        except BaseException as error:
            kind, text = type(error).__name__, str(error)
        os.write(write, json.dumps([kind, text[:2000]]).encode())

    pid = fork(run)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = json.loads(pipe.read() or '["died", ""]')
    ended(pid)
    return answer[0], " ".join(answer[1].replace(str(Path(tempfile.gettempdir())), "TMP").split())


# -- damaged files --------------------------------------------------------------------------------------------------
def damaged(root: Path, model: Path, flips: int, rng: random.Random) -> dict[str, Any]:
    """A finished model and its checkpoints with flipped bits, cut short, swapped for a pickle or another's files."""
    found = {"trials": 0, "refused": 0, "unchanged": 0, "survived": 0, "lost": 0}
    truth = load_native(model).denoiser.state_dict()  # type: ignore[attr-defined]

    def judge(folder: Path) -> None:
        found["trials"] += 1
        try:
            state = load_native(folder).denoiser.state_dict()  # type: ignore[attr-defined]
            good = all(torch.equal(state[k], v) for k, v in truth.items())
            found["unchanged"] += good
            found["survived" if good else "lost"] += 1
        except UnmaskError:
            found["refused"] += 1
            found["survived"] += 1
        except Exception as error:
            print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
            found["lost"] += 1

    keep = shutil.ignore_patterns("checkpoint-*", ".staging", "bad_batch*")
    names = ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "unmask.json"]
    for turn in range(flips):
        folder = root / "damaged"
        shutil.copytree(model, folder, ignore=keep)
        file = folder / names[turn % len(names)]
        data = bytearray(file.read_bytes())
        if turn % 3 == 2:
            data = data[: rng.randrange(len(data))]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        judge(folder)
        shutil.rmtree(folder)
    return found


def damaged_checkpoints(root: Path, run: Path, flips: int, rng: random.Random) -> dict[str, Any]:
    """The newest checkpoint of a run damaged in one byte or cut: the one before it is taken, and that is said."""
    found = {"trials": 0, "passed_over": 0, "survived": 0, "lost": 0}
    for turn in range(flips):
        folder = root / "run"
        shutil.copytree(run, folder)
        newest = checkpoints(folder)[-1]
        files = sorted(p for p in newest.rglob("*") if p.is_file())
        file = files[turn % len(files)]
        data = bytearray(file.read_bytes())
        if turn % 3 == 2:
            data = data[: rng.randrange(len(data))]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        said: list[str] = []
        taken = last_checkpoint(folder, said.append)
        found["trials"] += 1
        good = taken == str(checkpoints(folder)[-2]) and len(said) == 1
        found["passed_over"] += good
        found["survived" if good else "lost"] += 1
        shutil.rmtree(folder)
    return found


# -- fuzz -----------------------------------------------------------------------------------------------------------
VALUES = ["", "0", "-1", "1e9", "nan", "inf", "1.5", "true", "x", "'", '"', "../x", "/dev/null", "\u202e", "🙂", "%s",
          "{}", "[]", "a:b=c", "margin:noise=x", "cosine", "999999999999999999999", "--", "=", "\t", "None", "smollm3",
          "no/such/model", "verses", "/nonexistent/x.html", "x.html", "-0.0", "1,2", "0x10"]  # fmt: skip


def command(rng: random.Random, model: str) -> list[str]:
    """A command line that is wrong somewhere, or ends at once."""
    flags = {
        "sample": ["--text", "--n", "--order", "--steps", "--quota", "--sampler", "--remasking", "--block_length",
                   "--block-length", "--guidance", "--temperature", "--top-k", "--top-p", "--length", "--seed",
                   "--precision", "--trace", "--file", "--repetition-penalty", "--cache"],
        "evaluate": ["--data", "--column", "--texts", "--order", "--steps", "--guidance", "--judge", "--task", "--out"],
        "diagnose": ["--data", "--budget", "--check", "--report", "--json", "--seed"],
        "train": ["--dim", "--layers", "--heads", "--length", "--data", "--max_steps", "--time_power", "--ema",
                  "--estimator", "--schedule", "--optimizer", "--task", "--conditioning", "--validation"],
        "puzzle": ["--model", "--order", "--steps", "--temperature", "--trace"],
        "list": [],
        "export": ["--out"],
    }  # fmt: skip
    name = rng.choice([*flags, rng.choice(VALUES)])
    words = [name]
    if name in ("sample", "evaluate", "diagnose", "export"):
        words.append(rng.choice([model, model, rng.choice(VALUES)]))
    elif name == "train":
        words.append(rng.choice(["sgdd_verses", "mdm_verses", rng.choice(VALUES)]))
    elif name == "puzzle":
        words += [rng.choice(["sudoku", "zebra", "nae_sat", rng.choice(VALUES)]), rng.choice([*VALUES, "1" * 81])]
    for _ in range(rng.choice([1, 1, 2, 3])):
        odd = "--" + rng.choice(VALUES)
        words += [rng.choice(flags.get(name) or [odd]) if rng.random() < 0.9 else odd, rng.choice(VALUES)]
    # what is right otherwise shall end soon
    words += {
        "train": ["--data", "nowhere.txt"],
        "evaluate": ["--judge", "none", "--texts", "4", "--steps", "2"],
        "diagnose": ["--check", "mask_mass"],
    }.get(name, [])
    return words


def run_command(words: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command, in this process; 3 for a traceback."""
    from unmask.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        except BaseException as error:
            return 3, f"{type(error).__name__}: {error}"
    return code, err.getvalue()


def fuzz_commands(root: Path, model: Path, count: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    found: dict[str, Any] = {"seed": seed, "cases": 0, "survived": 0, "lost": 0, "exit_codes": {}, "examples": []}
    here = root / "work"
    here.mkdir()
    before, home = Path.cwd(), sorted(os.listdir(Path.home()))
    os.chdir(here)
    try:
        for _ in range(count):
            words = command(rng, str(model))
            code, said = run_command(words)
            found["cases"] += 1
            found["exit_codes"][str(code)] = found["exit_codes"].get(str(code), 0) + 1
            good = code in (0, 1, 2) and "Traceback" not in said
            found["survived" if good else "lost"] += 1
            if not good:
                found["examples"].append([words, said[-300:]])
    finally:
        os.chdir(before)
    found["files_outside"] = int(sorted(os.listdir(Path.home())) != home)
    return found


def _sentence(work: Callable[[], Any]) -> bool:
    """Whether it works, or is refused as a user should be."""
    try:
        work()
    except UnmaskError as error:
        return len(str(error)) < 1000
    return True


def fuzz_recipes(root: Path, count: int, seed: int) -> dict[str, Any]:
    from unmask.training.arguments import DataArguments, ModelArguments, TrainArguments, field_names
    from unmask.training.recipe import read_recipe

    rng = random.Random(seed)
    known = field_names(ModelArguments, DataArguments, TrainArguments)
    base = ["output_dir: runs/x", "task: unconditional", "conditioning: none", "report_to: none"]
    yaml_values = [*VALUES, "[1, 2]", "{a: 1}", "!!python/object/apply:os.system ['true']", "&a [*a]", "- x", "~", "|",
                   "'", "1e400", "2001-01-01", "!!binary AAAA", "\x00", "\ud7ff"]  # fmt: skip
    file = root / "recipe.yaml"
    found: dict[str, Any] = {"seed": seed, "cases": 0, "survived": 0, "lost": 0, "examples": []}
    for _ in range(count):
        if rng.random() < 0.2:
            text = bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
        else:
            lines = [f"{rng.choice([*known, rng.choice(VALUES)])}: {rng.choice(yaml_values)}" for _ in range(2)]
            text = "\n".join([*base, *lines]).encode("utf-8", "replace")
        file.write_bytes(text)
        found["cases"] += 1
        try:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                good, why = _sentence(lambda: parse(read_recipe(file))), "too long a sentence"
        except BaseException as error:
            good, why = False, f"{type(error).__name__}: {error}"[:200]
        found["survived" if good else "lost"] += 1
        if not good:
            found["examples"].append([text.decode("utf-8", "replace")[-200:], why])
    return found


def fuzz_data(root: Path, count: int, seed: int) -> dict[str, Any]:
    """Files of random bytes and of nearly right rows under every ending that is read."""
    rng = random.Random(seed)
    found: dict[str, Any] = {"seed": seed, "cases": 0, "survived": 0, "lost": 0, "examples": []}
    pieces = ['{"text": "a b"}', '{"text": 1}', '{"text": null}', "{", '{"text": "\\ud800"}', "[1]", "a,b", '"', "\x00",
              "", "text", "text\tb", "\ufeff", "é" * 50, '{"text": ["a"]}', '{"text": {"a": 1}}', "1e999", "\r",
              "x" * 30_000]  # fmt: skip
    for _ in range(count):
        ending = rng.choice(["txt", "jsonl", "ndjson", "csv", "tsv", "parquet", "bin"])
        file = root / f"rows.{ending}"
        if rng.random() < 0.3:
            file.write_bytes(bytes(rng.randrange(256) for _ in range(rng.randrange(400))))
        else:
            rows = [rng.choice(pieces) for _ in range(rng.randrange(12))]
            file.write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
        column = rng.choice([None, "text", "nothing", ("a", "b")])
        found["cases"] += 1
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read = functools.partial(load_texts, file, column=column)
                good, why = _sentence(lambda read=read: list(read().train)), "too long a sentence"
        except BaseException as error:
            good, why = False, f"{type(error).__name__}: {error}"[:200]
        found["survived" if good else "lost"] += 1
        if not good:
            found["examples"].append([ending, file.read_bytes()[:200].decode("utf-8", "replace"), str(column), why])
        file.unlink()
    return found


def fuzz_puzzles(count: int, seed: int) -> dict[str, Any]:
    from unmask.data.puzzles.puzzle import PUZZLES

    rng = random.Random(seed)
    found: dict[str, Any] = {"seed": seed, "cases": 0, "survived": 0, "lost": 0, "examples": []}
    makers = [PUZZLES.make(name) for name in ("sudoku", "zebra", "nae_sat")]
    letters = "0123456789.ABCDEFGHX \n,:=-|_+()abc²٣\x00"
    for _ in range(count):
        puzzle = rng.choice(makers)
        text = "".join(rng.choice(letters) for _ in range(rng.choice([0, 1, 9, 80, 81, 82, 256, rng.randrange(400)])))
        found["cases"] += 1
        try:
            good, why = _sentence(lambda puzzle=puzzle, text=text: puzzle.read(text)), "too long a sentence"
        except BaseException as error:
            good, why = False, f"{type(error).__name__}: {error}"[:200]
        found["survived" if good else "lost"] += 1
        if not good:
            found["examples"].append([str(puzzle)[:60], text[:120], why])
    return found


def fuzz_traces(root: Path, model: TextModel, count: int, seed: int) -> dict[str, Any]:
    """A written trace with pieces of it changed."""
    from unmask.decoding.trace import Trace

    rng = random.Random(seed)
    out = api.sample(model, n=2, steps=4, trace=True, seed=0)
    assert out.trace is not None
    whole = json.dumps(out.trace.to_dict())
    odd = [None, -1, 1e9, "x", [], {}, True, 10**30, [1], 0.5, "\ud800"]
    found: dict[str, Any] = {"seed": seed, "cases": 0, "survived": 0, "lost": 0, "examples": []}
    file = root / "trace.json"
    for _ in range(count):
        if rng.random() < 0.3:
            at = rng.randrange(len(whole))
            text = whole[:at] + chr(rng.randrange(32, 1000)) + whole[at + rng.randrange(5) :]
        else:
            tree = json.loads(whole)
            node: Any = tree
            while isinstance(node, (dict, list)) and node:
                key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
                if rng.random() < 0.4 or not isinstance(node[key], (dict, list)) or not node[key]:
                    node[key] = rng.choice(odd)
                    break
                node = node[key]
            text = json.dumps(tree)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        found["cases"] += 1
        try:
            good, why = _sentence(lambda: Trace.load(file).html()), "too long a sentence"
        except BaseException as error:
            good, why = False, f"{type(error).__name__}: {error}"[:200]
        found["survived" if good else "lost"] += 1
        if not good:
            found["examples"].append([text[:100], why])
    return found


# -- all of it ------------------------------------------------------------------------------------------------------
def everything(kills: int, flips: int, fuzz: int, seed: int, only: str = "") -> dict[str, Any]:
    root = Path(tempfile.mkdtemp(prefix="robustness"))
    rng = random.Random(seed)
    texts = write_texts(root / "texts.txt")
    found: dict[str, Any] = {"benchmark": "robustness", "seed": seed}
    try:
        _quiet(lambda: api.train(recipe(texts, root / "model", max_steps=12)))
        model = load_native(root / "model")
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "killed training": lambda: killed_training(_new(root / "t"), texts, kills, rng),
            "killed training, a checkpoint a step": lambda: killed_training(
                _new(root / "c"), texts, kills, rng, save_steps=1, eval_steps=4, max_steps=20
            ),
            "killed latent caching": lambda: killed_latents(_new(root / "l"), kills, rng),
            "killed evaluation": lambda: killed_evaluation(_new(root / "e"), root / "model", kills, rng),
            "killed saving over a model": lambda: killed_saves(_new(root / "s"), root / "model", kills, rng),
            "full and read-only disks": lambda: disks(_new(root / "d"), texts),
            "damaged models": lambda: damaged(_new(root / "b"), root / "model", flips, rng),
            "damaged checkpoints": lambda: damaged_checkpoints(_new(root / "p"), root / "model", flips, rng),
            "fuzzed commands": lambda: fuzz_commands(_new(root / "f"), root / "model", fuzz, seed),
            "fuzzed recipes": lambda: fuzz_recipes(_new(root / "r"), fuzz, seed),
            "fuzzed data": lambda: fuzz_data(_new(root / "a"), fuzz, seed),
            "fuzzed puzzles": lambda: fuzz_puzzles(fuzz, seed),
            "fuzzed traces": lambda: fuzz_traces(_new(root / "x"), model, fuzz, seed),
        }
        for name, part in parts.items():
            if only not in name:
                continue
            start = time.perf_counter()
            found[name] = _quiet(part) | {"seconds": round(time.perf_counter() - start, 1)}
            print(name, {k: v for k, v in found[name].items() if k != "examples"}, flush=True)
            for example in found[name].get("examples", [])[:5]:
                print("   lost:", example, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    count(found)
    return found


def count(found: dict[str, Any]) -> None:
    """Sum up the parts."""
    groups = [v for v in found.values() if isinstance(v, dict)]
    found["survived"], found["lost"] = (sum(g[k] for g in groups) for k in ("survived", "lost"))


def _new(path: Path) -> Path:
    path.mkdir()
    return path


def _quiet(work: Callable[[], Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


def page(result: dict[str, Any]) -> str:
    lines = [
        "# Robustness",
        "",
        f"Written by `benchmarks/robustness.py` at commit {result['commit']} on {result['device']}, torch "
        f"{result['torch']}, seed {result['seed']}.",
        "",
        "A kill is SIGKILL at a moment drawn uniformly over the work; the work is then started again until it ends by "
        "itself, and survived if its curve and weights (vectors, metrics) equal the undisturbed ones bit for bit. "
        "Damage is a flipped bit or a cut file, and survived if it is refused in one sentence, passed over for the "
        "checkpoint before, or without effect. Fuzzed input survives without a traceback.",
        "",
        "| what | cases | kills | survived | lost |",
        "|---|---|---|---|---|",
    ]
    for name, got in result.items():
        if isinstance(got, dict):
            cases = got["survived"] + got["lost"]
            lines.append(f"| {name} | {cases:,} | {got.get('kills', '')} | {got['survived']:,} | {got['lost']} |")
    lines.append(f"| **all** | {result['survived'] + result['lost']:,} | | {result['survived']:,} | {result['lost']} |")
    half = sum(got.get("kills_in_a_half_written_checkpoint", 0) for got in result.values() if isinstance(got, dict))
    lines += [
        "",
        f"{half} of the kills fell while a checkpoint was being written. What a full or read-only disk says:",
        "",
    ]
    lines += [f"- {said}" for said in result.get("full and read-only disks", {}).get("sentences", [])]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=24, help="kills of each kind of work")
    parser.add_argument("--flips", type=int, default=300, help="damaged files of each kind")
    parser.add_argument("--fuzz", type=int, default=2000, help="fuzzed inputs of each kind")
    parser.add_argument("--only", default="", help="only the parts whose name holds this: killed, damaged, fuzzed ...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="folder for robustness.json and .md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = everything(arguments.kills, arguments.flips, arguments.fuzz, arguments.seed, arguments.only)
    result |= where()
    lost = result["lost"]
    if arguments.write:
        arguments.write.mkdir(parents=True, exist_ok=True)
        file = arguments.write / "robustness.json"
        if arguments.only and file.is_file():  # the other parts stay as they were measured
            result = json.loads(file.read_text()) | result
            count(result)
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        (arguments.write / "robustness.md").write_text(page(result))
    print(json.dumps({k: v for k, v in result.items() if not isinstance(v, dict)}))
    if lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
