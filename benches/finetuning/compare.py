"""Fine-tuning of a classifier, ours and PyTorch's, run alternately on the same cores.

    cargo build --release --workspace
    python benches/finetuning/compare.py target/release/atb

Needs torch (any 2.x). Each turn is a process of its own, which fine-tunes the same architecture on
texts of the same lengths, sorted by length into batches of the same size in the same way, with
dropout on and clipped gradients, by AdamW. PyTorch's model is plain modules in eager mode; its
AdamW is the default one, or the fused one of `--modes fused`. Prints a table as Markdown; the first
steps of a turn do not count, nor does what comes before the first step and after the last.

Tokens a second are real tokens by wall-clock time and mean nothing while anything else runs.
Processor time a step, of all threads, is that of a turn less that of one of few steps alone; with
`--threads 1` it compares on a busy machine as well.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

VOCABULARY, POSITIONS = 30522, 512
# Words that are one token each.
WORDS = "the of and in to was he is as for on with that it his by at from her she you had an".split()
TASK = """name = "lengths"
kind = "classification"
labels = ["0", "1"]
first = "text"
target = "label"
splits = { train = "train.tsv" }
"""
SORTED_TOGETHER, WARM_UP = 50, 5
HELD_OUT = 8


def lengths(rows):
    """Tokens of each text, about as those of SST-2 are spread: from 3 to 60, on average 13."""
    draw = random.Random(1)
    return [2 + min(58, 1 + int(draw.expovariate(1 / 10.5))) for _ in range(rows)]


def write_task(folder, rows):
    draw = random.Random(2)
    with open(os.path.join(folder, "task.toml"), "w") as file:
        file.write(TASK)
    with open(os.path.join(folder, "train.tsv"), "w") as file:
        file.write("text\tlabel\n")
        for number, length in enumerate(lengths(rows)):
            words = [draw.choice(WORDS) for _ in range(length - 2)]
            file.write(f"{' '.join(words)}\t{number % 2}\n")


def torch_steps(arch, mode, rows, batch_size, dropout):
    """Trains in this process; prints a line of JSON with the seconds and tokens of each step."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    layers, hidden, inner, heads, qkv = arch

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(hidden, qkv) for _ in range(3))
            self.o, self.i, self.d = nn.Linear(qkv, hidden), nn.Linear(hidden, inner), nn.Linear(inner, hidden)
            self.norm1, self.norm2 = nn.LayerNorm(hidden, 1e-12), nn.LayerNorm(hidden, 1e-12)
            self.dropout = nn.Dropout(dropout)

        def forward(self, x, penalty):
            split = lambda t: t.view(*t.shape[:2], heads, qkv // heads).transpose(1, 2)
            q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
            scores = q @ k.transpose(-1, -2) / (qkv // heads) ** 0.5 + penalty
            attended = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)
            x = self.norm1(x + self.dropout(self.o(attended)))
            return self.norm2(x + self.dropout(self.d(F.gelu(self.i(x)))))

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.positions = nn.Embedding(VOCABULARY, hidden), nn.Embedding(POSITIONS, hidden)
            self.types, self.norm = nn.Embedding(2, hidden), nn.LayerNorm(hidden, 1e-12)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.pooler, self.classifier = nn.Linear(hidden, hidden), nn.Linear(hidden, 2)
            self.dropout = nn.Dropout(dropout)

        def forward(self, ids, mask):
            places = torch.arange(ids.shape[1])
            x = self.words(ids) + self.positions(places) + self.types(torch.zeros_like(ids))
            x = self.dropout(self.norm(x))
            penalty = ((1 - mask) * -10000.0)[:, None, None, :]
            for layer in self.layers:
                x = layer(x, penalty)
            return self.classifier(self.dropout(self.pooler(x[:, 0]).tanh()))

    torch.manual_seed(0)
    model = Classifier()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    decay = [p for n, p in model.named_parameters() if "bias" not in n and "norm" not in n]
    rest = [p for n, p in model.named_parameters() if "bias" in n or "norm" in n]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, eps=1e-6, fused=mode == "fused")
    order, all_lengths = list(range(rows)), lengths(rows)
    random.Random(3).shuffle(order)
    batches, together = [], batch_size * SORTED_TOGETHER
    for start in range(0, rows, together):
        part = sorted(order[start:start + together], key=lambda row: all_lengths[row])
        batches += [part[i:i + batch_size] for i in range(0, len(part), batch_size)]
    random.Random(4).shuffle(batches)
    seconds, tokens = [], []
    for batch in batches:
        began = time.perf_counter()
        of_rows = [all_lengths[row] for row in batch]
        longest = max(of_rows)
        ids = torch.randint(1000, 30000, (len(batch), longest))
        mask = (torch.arange(longest)[None] < torch.tensor(of_rows)[:, None]).float()
        labels = torch.tensor([row % 2 for row in batch])
        loss = F.cross_entropy(model(ids, mask), labels)
        loss.item()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
        tokens.append(sum(of_rows))
    print(json.dumps({"seconds": seconds, "tokens": tokens, "torch": torch.__version__}))


def child(command, environment):
    """Runs a process; its last line of output and its processor time."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=environment)
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed:\n{errors}")
    return output.splitlines()[-1], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def ours(arguments, model, rows, environment):
    with tempfile.TemporaryDirectory() as folder:
        write_task(folder, rows + HELD_OUT)
        out = os.path.join(folder, "out")
        command = [arguments.program, "finetune", model, "--task", os.path.join(folder, "task.toml"),
                   "--epochs", "1", "--batch-size", str(arguments.batch_size), "--held-out", str(HELD_OUT),
                   "--dropout", str(arguments.dropout), "--max-train-samples", str(rows), "--out", out]
        _, processor, memory = child(command, environment)
        with open(os.path.join(out, "metrics.jsonl")) as lines:
            steps = [line for line in map(json.loads, lines) if line["kind"] == "step"]
    return {"who": "atb", "seconds": [s["seconds"] for s in steps],
            "tokens": [s["tokens"] for s in steps], "processor": processor, "memory_mib": memory}


def theirs(arguments, arch, mode, rows, environment):
    command = [sys.executable, __file__, "--child", json.dumps(
        [arch, mode, rows, arguments.batch_size, arguments.dropout])]
    line, processor, memory = child(command, environment)
    found = json.loads(line)
    return {"who": f"PyTorch {found['torch']}, {mode}", "seconds": found["seconds"],
            "tokens": found["tokens"], "processor": processor, "memory_mib": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="atb, built with --release")
    parser.add_argument("--arch", default="4-192-480-12-192")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--modes", nargs="+", default=["eager", "fused"])
    parser.add_argument("--out", help="also write the raw times there, as JSON Lines")
    arguments = parser.parse_args()
    environment = dict(os.environ, CANDLE_NUM_THREADS="1")
    for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[variable] = str(arguments.threads)
    arch = [int(size) for size in arguments.arch.split("-")]
    few, many = 2 * arguments.batch_size, arguments.steps * arguments.batch_size
    raw = []
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        subprocess.run([arguments.program, "extract", "--arch", arguments.arch, "--out", model],
                       check=True, stdout=subprocess.DEVNULL)
        runs = [lambda rows: ours(arguments, model, rows, environment)]
        for mode in arguments.modes:
            runs.append(lambda rows, mode=mode: theirs(arguments, arch, mode, rows, environment))
        for turn in range(arguments.turns):
            for run in runs:
                short, found = run(few), run(many)
                steps = len(found["seconds"]) - len(short["seconds"])
                found["processor_seconds"] = (found.pop("processor") - short["processor"]) / steps
                found["load"] = os.getloadavg()[0]
                raw.append(found)
            print(f"turn {turn + 1} of {arguments.turns} is done", file=sys.stderr)
    if arguments.out:
        with open(arguments.out, "w") as file:
            file.writelines(json.dumps(run) + "\n" for run in raw)
    print(table(raw))


def table(raw):
    lines = ["| | tokens/s, median of the turns | slowest to fastest turn | processor time a step | peak memory |",
             "|---|---:|---:|---:|---:|"]
    for who in dict.fromkeys(run["who"] for run in raw):
        runs = [run for run in raw if run["who"] == who]
        speeds = [sum(run["tokens"][WARM_UP:]) / sum(run["seconds"][WARM_UP:]) for run in runs]
        processor = statistics.median(run["processor_seconds"] for run in runs)
        memory = statistics.median(run["memory_mib"] for run in runs)
        lines.append(f"| {who} | {statistics.median(speeds):,.0f} | {min(speeds):,.0f} to {max(speeds):,.0f} "
                     f"| {1000 * processor:.0f} ms | {memory:.0f} MiB |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        torch_steps(*json.loads(sys.argv[2]))
    else:
        main()
