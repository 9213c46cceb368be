"""The share of a training's time that a recorder takes, for a small GPT.

    python tests/benchmarks/recorder.py [STEPS]

Trains a GPT of 0.8 million parameters without a recorder, and with shares of 2, 5 and 20 %; prints
seconds, the number of landscapes and their resolution, and whether the weights end in equal bytes.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path

import torch

from tlp_core import LandscapeRecorder, Problem


def make_model():
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=64,
        n_positions=64,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return transformers.GPT2LMHeadModel(config)


def text_loss(model, batch):
    return model(input_ids=batch, labels=batch).loss


def train(steps, share, folder):
    model = make_model().train()
    tokens = torch.randint(0, 64, (512, 64), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    recorder = None
    if share is not None:
        problem = Problem(model, text_loss, [tokens[:4]], name="gpt")
        recorder = LandscapeRecorder(problem, folder, schedule=max(1, steps // 10), share=share)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        batch = tokens[torch.randint(0, 512, (16,))]
        optimizer.zero_grad()
        text_loss(model, batch).backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(step)
    seconds = time.perf_counter() - start
    return seconds, b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def main(steps=600):
    alone, end = train(steps, None, "")
    print(f"{steps} steps without a recorder: {alone:.1f} s")
    for share in (0.02, 0.05, 0.2):
        with tempfile.TemporaryDirectory() as folder:
            seconds, own = train(steps, share, folder)
            table = Path(folder) / "descriptors.csv"
            rows = list(csv.DictReader(table.open())) if table.exists() else []
        sizes = {row["resolution"] for row in rows}
        took = sum(float(row["recorder_seconds"]) for row in rows)
        training = seconds - took
        print(
            f"share {share:.0%}: {seconds:.1f} s in all; {len(rows)} landscapes with "
            f"{', '.join(sizes) or 'no'} points per axis took {took:.1f} s, "
            f"{took / training:.1%} of the training; equal bytes: {own == end}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
