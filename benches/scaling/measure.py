#!/usr/bin/env python3
"""Times training steps of several ranks, alternating between configurations.

    python benches/scaling/measure.py ATB TEXT OUT.jsonl --rounds 3

ATB is an atb that was built with `--features mpi`. Every configuration of CONFIGURATIONS trains
the default SuperPLM for some steps with the default teacher; a line of OUT.jsonl has what the
steps of a run took, the first ones left out. `--shaped RATE` sets up two network namespaces with
a link of that rate between them (`tc tbf`; needs root) and runs two ranks, one in each.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

WARM_UP = 1
AGENT = """#!/bin/sh
shift
exec ip netns exec atb-b unshare --uts sh -c "hostname atb-b; $*"
"""
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "CANDLE_NUM_THREADS": "1",
}

# name: ranks, threads of each, batch
CONFIGURATIONS = {
    "1x2": (1, 2, 8),
    "1x1": (1, 1, 8),
    "1x1 batch 4": (1, 1, 4),
    "1x1 batch 16": (1, 1, 16),
    "2x1": (2, 1, 8),
    "2x1 batch 16": (2, 1, 16),
    "3x1": (3, 1, 8),
    "4x1": (4, 1, 8),
}
SHAPED = {"2x1": (2, 1, 8), "2x1 batch 16": (2, 1, 16), "2x1 batch 32": (2, 1, 32)}


def run(*command):
    subprocess.run(command, check=True)


def lay_link(rate):
    """Two namespaces, atb-a and atb-b, with a link of `rate` between them."""
    for name in "ab":
        subprocess.run(["ip", "netns", "del", f"atb-{name}"], stderr=subprocess.DEVNULL)
        run("ip", "netns", "add", f"atb-{name}")
    run("ip", "link", "add", "atb-a", "netns", "atb-a", "type", "veth",
        "peer", "name", "atb-b", "netns", "atb-b")
    for number, name in enumerate("ab", 1):
        inside = ["ip", "-n", f"atb-{name}"]
        run(*inside, "addr", "add", f"10.77.0.{number}/24", "dev", f"atb-{name}")
        run(*inside, "link", "set", f"atb-{name}", "up")
        run(*inside, "link", "set", "lo", "up")
        run("ip", "netns", "exec", f"atb-{name}", "tc", "qdisc", "add", "dev", f"atb-{name}",
            "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")


def launcher(folder, ranks, shaped):
    if ranks == 1:
        return []
    if not shaped:
        bind = ["--bind-to", "core"] if ranks <= os.cpu_count() else ["--bind-to", "none"]
        return ["mpirun", "-n", str(ranks), "--oversubscribe", *bind]
    agent = folder / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    return ["ip", "netns", "exec", "atb-a", "mpirun", "-n", "2", "--map-by", "node",
            "--host", "10.77.0.1:1,10.77.0.2:1", "--bind-to", "none",
            "--mca", "plm_rsh_agent", str(agent), "--mca", "btl", "tcp,self",
            "--mca", "btl_tcp_if_include", "10.77.0.0/24",
            "--mca", "oob_tcp_if_include", "10.77.0.0/24"]


def measure(arguments, name, configuration, round_number, folder):
    ranks, threads, batch = configuration
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    config = folder / "train.toml"
    config.write_text(
        f"text = {json.dumps([arguments.text])}\nbatch_size = {batch}\n"
        f"output = {json.dumps(str(out))}\n"
        f"checkpoint_every = 1000000\nvalidate_every = 1000000\n"
        f'panel = ["1-128-128-12-180"]\n{arguments.setting}\n'
        f"[schedule]\nsteps = {arguments.steps}\nwarmup_steps = 1\n"
        "[held_out]\nparagraphs = 2\n")
    command = [*launcher(folder, ranks, arguments.shaped), arguments.atb, "train", str(config)]
    environment = {**os.environ, **ENVIRONMENT, "RAYON_NUM_THREADS": str(threads)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    steps = [line for line in lines if line["kind"] == "step"][WARM_UP:]
    exchange = [step.get("exchange") or {"bytes": 0, "waited": 0, "seconds": 0} for step in steps]
    median = lambda values: statistics.median(list(values))
    seconds = [step["seconds"] for step in steps]
    return {
        "name": name, "round": round_number, "ranks": ranks, "threads": threads, "batch": batch,
        "network": arguments.shaped or "shared memory", "steps": len(steps),
        "tokens": steps[0]["tokens"],
        "tokens_per_second": sum(step["tokens"] for step in steps) / sum(seconds),
        "seconds": median(seconds), "all_seconds": [round(value, 4) for value in seconds],
        "bytes": median(e["bytes"] for e in exchange),
        "waited": median(e["waited"] for e in exchange),
        "exchange": median(e["seconds"] for e in exchange),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atb")
    parser.add_argument("text")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", action="append", help="only configurations of that name")
    parser.add_argument("--shaped", metavar="RATE", help="such as 1gbit")
    parser.add_argument("--setting", default="", help="a line of the training's TOML file")
    arguments = parser.parse_args()
    arguments.text = str(pathlib.Path(arguments.text).resolve())
    arguments.atb = str(pathlib.Path(arguments.atb).resolve())
    if arguments.shaped:
        lay_link(arguments.shaped)
    configurations = SHAPED if arguments.shaped else CONFIGURATIONS
    with tempfile.TemporaryDirectory() as folder, arguments.out.open("a") as out:
        for number in range(arguments.rounds):
            for name, configuration in configurations.items():
                if arguments.only and name not in arguments.only:
                    continue
                sample = measure(arguments, name, configuration, number, pathlib.Path(folder))
                shown = {key: sample[key] for key in sample if key != "all_seconds"}
                print(json.dumps(shown), flush=True)
                out.write(json.dumps(sample) + "\n")
                out.flush()
    if arguments.shaped:
        for name in "ab":
            run("ip", "netns", "del", f"atb-{name}")


if __name__ == "__main__":
    main()
