#!/usr/bin/env python3
"""Instructions that one inference takes on an emulated aarch64 core, by engine.

    count.py NAME=F32.onnx,INT8.onnx ... [--cpu cortex-a72 --cpu cortex-a76] [--tokens 128]

Builds the example `inferences` of atb-runtime for aarch64-unknown-linux-musl and the plugin
`count.c` for qemu-user, runs each model once and three times, and prints half of the difference as
a Markdown table. Needs qemu-aarch64 7 or newer, gcc, and the target installed with rustup.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TARGET = "aarch64-unknown-linux-musl"


def build(folder):
    cargo = ["cargo", "build", "--release", "--package", "atb-runtime"]
    cargo += ["--example", "inferences", "--target", TARGET]
    root = HERE.parent.parent
    subprocess.run(cargo, cwd=root, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    plugin = folder / "count.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", plugin, HERE / "count.c"], check=True)
    return target / TARGET / "release" / "examples" / "inferences", plugin


def counted(program, plugin, cpu, model, engine, tokens, runs):
    command = ["qemu-aarch64", "-cpu", cpu, "-plugin", plugin, program]
    command += [model, engine, str(tokens), str(runs)]
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"instructions: (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        raise SystemExit(f"{model} in {engine} on {cpu}: {run.stderr.strip()}")
    return int(found.group(1)), run.stdout.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=F32.onnx,INT8.onnx")
    parser.add_argument("--cpu", action="append")
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    ways = [("plain tract, f32", 0, "plain"), ("f32", 0, "fixed"), ("int8", 1, "fixed")]
    with tempfile.TemporaryDirectory() as folder:
        program, plugin = build(pathlib.Path(folder))
        print("| model | core | " + " | ".join(f"{name}, millions" for name, _, _ in ways), end="")
        print(" | f32 of plain tract | int8 of f32 |\n|---|---|" + "---:|" * (len(ways) + 2))
        for entry in arguments.models:
            name, files = entry.split("=", 1)
            files = files.split(",")
            for cpu in arguments.cpu or ["cortex-a72", "cortex-a76"]:
                millions = []
                for _, file, engine in ways:
                    few, many = (
                        counted(program, plugin, cpu, files[file], engine, arguments.tokens, runs)[0]
                        for runs in (1, 3)
                    )
                    millions.append((many - few) / 2e6)
                plain, floats, integers = millions
                cells = [name, cpu] + [f"{it:.1f}" for it in millions]
                cells += [f"{floats / plain:.3f}", f"{integers / floats:.3f}"]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
