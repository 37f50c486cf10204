"""kill -9 while training: the next start goes on by itself, to the very weights of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file

FLAGS = (
    "--task unconditional --conditioning none --vocab_size 300 --length 16 --dim 16 --layers 1 --heads 2 --ffn_dim 32 "
    "--validation 0.2 --max_steps 60 --save_steps 5 --eval_steps 5 --logging_steps 5 --warmup_steps 2 --bf16 false "
    "--per_device_train_batch_size 8 --probe_texts 0 --eval_texts 8 --report_to none --disable_tqdm true"
).split()


def start(texts, folder):
    words = [sys.executable, "-m", "unmask", "train", "mdm_verses", *FLAGS]
    words += ["--data", str(texts), "--output_dir", str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)


def test_killed_runs_end_like_undisturbed_ones(tmp_path):
    draw = random.Random(0)
    texts = tmp_path / "texts.txt"
    words = "light water earth heaven day night field seed tree sea".split()
    texts.write_text("\n".join(" ".join(draw.choices(words, k=6)) for _ in range(250)), encoding="utf-8")

    whole = start(texts, tmp_path / "whole")
    assert whole.wait(timeout=300) == 0, whole.stderr.read()

    killed = 0
    for _ in range(2):
        run = start(texts, tmp_path / "cut")
        seen = set((tmp_path / "cut").glob("checkpoint-*"))
        until = time.monotonic() + 240
        # wait for a checkpoint that this very start wrote, then strike somewhere in the steps and writes after it
        while run.poll() is None and time.monotonic() < until:
            if set((tmp_path / "cut").glob("checkpoint-*")) - seen:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.2))
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            killed += 1
        run.wait(timeout=60)
    last = start(texts, tmp_path / "cut")
    assert last.wait(timeout=300) == 0, last.stderr.read()
    assert killed >= 1
    mine, theirs = (load_file(str(tmp_path / name / "model.safetensors")) for name in ("cut", "whole"))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
