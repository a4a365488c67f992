"""One step of distillation, ours and PyTorch's, run alternately on the same cores.

    cargo build --release --workspace
    python benches/training/compare.py target/release/train-step

Needs torch (any 2.x), and g++ for the compiled mode. Each turn is a process of its own; ours
first writes which sub-models its one-shot steps draw, and PyTorch trains the same. Prints a
table as Markdown; the first steps of a turn, in which memory is obtained and code compiled,
do not count.

Tokens a second are wall-clock time and mean nothing while anything else runs. Processor time
a step, of all threads, is that of a turn less that of one of its first steps alone; with
`--threads 1` it compares on a busy machine as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

VOCABULARY, POSITIONS, ROWS, SEQUENCE = 30522, 512, 16, 64
STUDENT, TEACHER = (4, 384, 1536, 12, 384), (6, 384, 1536, 12, 384)
WARM_UP = 5


def products_of(arch, backward):
    """Floating-point operations of an architecture's matrix products in one step."""
    layers, hidden, inner, heads, qkv = arch
    tokens = ROWS * SEQUENCE
    weights = layers * (4 * hidden * qkv + 2 * hidden * inner)
    attention = layers * 2 * SEQUENCE * qkv
    projection = hidden * TEACHER[1] if backward else 0
    return 2 * tokens * (weights + attention + projection) * (3 if backward else 1)


def torch_steps(mode, archs):
    """Trains in this process; prints a line of JSON with the seconds of each step."""
    import torch
    import torch.nn.functional as F

    def parameter(*shape):
        return torch.nn.Parameter(torch.randn(shape) * 0.02)

    class Elastic(torch.nn.Module):
        """A BERT that runs any leading part of itself."""

        def __init__(self, arch, teacher_width=None):
            super().__init__()
            layers, hidden, inner, self.heads, qkv = arch
            self.arch = arch
            self.words, self.positions = parameter(VOCABULARY, hidden), parameter(POSITIONS, hidden)
            self.types = parameter(2, hidden)
            shapes = {"q": (qkv, hidden), "k": (qkv, hidden), "v": (qkv, hidden),
                      "o": (hidden, qkv), "i": (inner, hidden), "d": (hidden, inner)}
            self.layers = torch.nn.ModuleList()
            for _ in range(layers):
                layer = torch.nn.ParameterDict({k: parameter(*s) for k, s in shapes.items()})
                for k, s in shapes.items():
                    layer[k + "_bias"] = torch.nn.Parameter(torch.zeros(s[0]))
                for k in ("norm1", "norm2"):
                    layer[k + "_weight"] = torch.nn.Parameter(torch.ones(hidden))
                    layer[k + "_bias"] = torch.nn.Parameter(torch.zeros(hidden))
                self.layers.append(layer)
            self.norm_weight = torch.nn.Parameter(torch.ones(hidden))
            self.norm_bias = torch.nn.Parameter(torch.zeros(hidden))
            if teacher_width:
                self.projection = parameter(teacher_width, hidden)

        def forward(self, ids, penalty, arch):
            layers, hidden, inner, heads, qkv = arch
            whole, narrow = self.arch[4] // heads, qkv // heads
            rows, sequence = ids.shape

            def head_rows(weight):
                if narrow == whole:
                    return weight
                shape = (heads, whole) + tuple(weight.shape[1:])
                return weight.reshape(shape)[:, :narrow].reshape((qkv,) + tuple(weight.shape[1:]))

            def normalise(x, weight, bias):
                return F.layer_norm(x, (hidden,), weight[:hidden], bias[:hidden], 1e-12)

            def split(x):
                return x.view(rows, sequence, heads, narrow).transpose(1, 2)

            x = F.embedding(ids, self.words)[..., :hidden]
            x = x + self.positions[:sequence, :hidden] + self.types[0, :hidden]
            x = normalise(x, self.norm_weight, self.norm_bias)
            for layer in self.layers[:layers]:
                q, k, v = (split(F.linear(x, head_rows(layer[n])[:, :hidden],
                                          head_rows(layer[n + "_bias"]))) for n in "qkv")
                scores = q @ k.transpose(-1, -2) / narrow**0.5
                attended = (scores + penalty).softmax(-1) @ v
                attended = attended.transpose(1, 2).reshape(rows, sequence, qkv)
                out = head_rows(layer["o"].t()).t()[:hidden]
                x = normalise(x + F.linear(attended, out, layer["o_bias"][:hidden]),
                              layer["norm1_weight"], layer["norm1_bias"])
                h = F.gelu(F.linear(x, layer["i"][:inner, :hidden], layer["i_bias"][:inner]))
                x = normalise(x + F.linear(h, layer["d"][:hidden, :inner], layer["d_bias"][:hidden]),
                              layer["norm2_weight"], layer["norm2_bias"])
            return x, scores

    torch.manual_seed(0)
    teacher, student = Elastic(TEACHER), Elastic(STUDENT, TEACHER[1])
    decay = [p for n, p in student.named_parameters() if "bias" not in n and "norm" not in n]
    rest = [p for n, p in student.named_parameters() if "bias" in n or "norm" in n]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01},
                                   {"params": rest, "weight_decay": 0.0}], lr=1e-4, eps=1e-6)
    run = torch.compile(student, dynamic=len(archs[0]) > 1) if mode == "compiled" else student
    mask = torch.ones(ROWS, SEQUENCE)
    penalty = ((1 - mask) * -10000.0)[:, None, None, :]
    seconds = []
    for step_archs in archs:
        ids = torch.randint(1000, 30000, (ROWS, SEQUENCE))
        began = time.perf_counter()
        with torch.no_grad():
            hidden, scores = teacher(ids, penalty, TEACHER)
        for arch in step_archs:
            own_hidden, own_scores = run(ids, penalty, arch)
            projected = F.linear(own_hidden, student.projection[:, :arch[1]])
            tokens = mask[:, :, None]
            pairs = (mask[:, :, None] * mask[:, None, :])[:, None]
            loss = (((projected - hidden) * tokens) ** 2).sum() / (tokens.sum() * TEACHER[1])
            loss = loss + (((own_scores - scores) * pairs) ** 2).sum() / (pairs.sum() * arch[3])
            loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "torch": torch.__version__}))


def child(command, environment=None):
    """Runs a process; its last line of output, its processor time and its peak memory."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    processor = usage.ru_utime + usage.ru_stime
    return json.loads(output.splitlines()[-1]), processor, usage.ru_maxrss / 1024


def ours(arguments, task, environment):
    processor = {}
    for steps in (WARM_UP, arguments.steps):
        with tempfile.TemporaryDirectory() as folder:
            command = [arguments.program, task, "--steps", str(steps), "--out", folder]
            found, processor[steps], memory = child(command, environment)
            with open(os.path.join(folder, "metrics.jsonl")) as lines:
                lines = [line for line in map(json.loads, lines) if line["kind"] == "step"]
    return {"task": task, "who": "atb", "gflops": found["product_gflops"],
            "seconds": [line["seconds"] for line in lines],
            "processor_seconds": difference(processor), "memory_mib": memory,
            "archs": [[[int(n) for n in arch.split("-")] for arch, _ in line["losses"]]
                      for line in lines]}


def theirs(task, mode, archs, environment):
    processor = {}
    for steps in (WARM_UP, len(archs)):
        command = [sys.executable, __file__, "--child", mode, json.dumps(archs[:steps])]
        found, processor[steps], memory = child(command, environment)
    return {"task": task, "who": f"PyTorch {found['torch']}, {mode}",
            "seconds": found["seconds"], "processor_seconds": difference(processor),
            "memory_mib": memory, "archs": archs}


def difference(processor):
    """Processor seconds a step after the first ones."""
    (few, of_few), (many, of_many) = sorted(processor.items())
    return (of_many - of_few) / (many - few)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program train-step, built with --release")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"])
    parser.add_argument("--out", help="also write the raw times there, as JSON")
    arguments = parser.parse_args()
    environment = dict(os.environ, CANDLE_NUM_THREADS="1")
    for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[variable] = str(arguments.threads)
    raw = []
    for task in ("fixed", "one-shot"):
        for _ in range(arguments.turns):
            raw.append(ours(arguments, task, environment))
            archs = raw[-1]["archs"]
            for mode in arguments.modes:
                if task == "one-shot" and mode == "compiled":
                    continue  # a sub-model of its own every step: it would compile every step
                raw.append(theirs(task, mode, archs, environment))
            print(f"{task}: a turn is done", file=sys.stderr)
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump(raw, file)
    print(table(raw))


def table(raw):
    limit = max(run["gflops"] for run in raw if "gflops" in run)
    lines = [f"Fastest product of 1024 x 1024 matrices on the same threads: {limit:.0f} GFLOP/s.", "",
             "| step | | tokens/s, median of the turns | slowest to fastest turn | of the product limit "
             "| processor time a step | peak memory |",
             "|---|---|---:|---:|---:|---:|---:|"]
    for task in ("fixed", "one-shot"):
        runs = [run for run in raw if run["task"] == task]
        for who in dict.fromkeys(run["who"] for run in runs):
            speeds, shares, processor, memory = [], [], [], []
            for run in (run for run in runs if run["who"] == who):
                counted = list(zip(run["seconds"], run["archs"]))[WARM_UP:]
                middle = statistics.median(seconds for seconds, _ in counted)
                speeds.append(ROWS * SEQUENCE / middle)
                work = statistics.median(
                    (products_of(TEACHER, False) + sum(products_of(a, True) for a in archs)) / seconds
                    for seconds, archs in counted)
                shares.append(work / 1e9 / limit)
                processor.append(run["processor_seconds"])
                memory.append(run["memory_mib"])
            lines.append(f"| {task} | {who} | {statistics.median(speeds):.0f} | {min(speeds):.0f} to "
                         f"{max(speeds):.0f} | {100 * statistics.median(shares):.0f} % | "
                         f"{statistics.median(processor):.3f} s | {max(memory):.0f} MiB |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        torch_steps(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
