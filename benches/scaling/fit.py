#!/usr/bin/env python3
"""Fits a model of step times to what measure.py measured, and predicts larger jobs.

    python benches/scaling/fit.py SAMPLES.jsonl [--speed 1300] [--spread 0.03] [--share 0.48]

    step(n) = a + b * tokens / n  +  s * sqrt(2 ln n)  +  2 (n - 1) / n * bytes / rate  +  2 (n - 1) * latency

`a + b * tokens` is fitted to runs of one rank with one thread, or `b` is one over the tokens a second
that `--speed` says; `s` is the deviation of their steps from their median, or the share of a step
that `--spread` says; the rate of shared memory and the efficiency of a network are fitted to the
exchanges measured. Predictions assume ranks like the one measured, each on a core of its own, and a
ring whose every link has the whole rate.
"""

import argparse
import json
import math
import statistics

LATENCY = 50e-6
NETWORKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 10e9 / 8, "100 Gbit/s": 100e9 / 8}
RATES = {"1gbit": 1e9 / 8, "10gbit": 10e9 / 8}


def line(points):
    """Least squares of `y = a + b x`."""
    xs, ys = zip(*points)
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope /= sum((x - mean_x) ** 2 for x in xs)
    return mean_y - slope * mean_x, slope


def volume(ranks, size):
    return 2 * (ranks - 1) / ranks * size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="+")
    parser.add_argument("--speed", type=float, help="tokens a second of a rank, in place of the fit")
    parser.add_argument("--spread", type=float, help="deviation of a rank's steps, in place of the fit")
    parser.add_argument("--share", type=float, help="share of a link that sums use, in place of the fit")
    arguments = parser.parse_args()
    samples = [json.loads(text) for name in arguments.samples for text in open(name)]
    one = [s for s in samples if s["ranks"] == 1 and s["threads"] == 1]
    if arguments.speed:
        a, b = 0.0, 1 / arguments.speed
    else:
        a, b = line([(s["tokens"], s["seconds"]) for s in one])
    spread = statistics.median(
        statistics.pstdev(s["all_seconds"]) / s["seconds"] for s in one if len(s["all_seconds"]) > 2)
    spread = arguments.spread if arguments.spread is not None else spread
    print(f"compute: {1e3 * a:.1f} ms + {1e6 * b:.1f} us a token of a rank; steps differ by "
          f"{100 * spread:.1f} % (standard deviation)")
    efficiency = {}
    for network in sorted({s["network"] for s in samples if s["ranks"] > 1}):
        of = [s for s in samples if s["network"] == network and s["ranks"] > 1]
        rate = statistics.median(volume(s["ranks"], s["bytes"]) / s["exchange"] for s in of)
        text = f"{network}: {rate / 1e6:.0f} MB/s"
        if network in RATES:
            efficiency[network] = rate / RATES[network]
            text += f", {100 * efficiency[network]:.0f} % of the link"
        print(text)
    print("\n| ranks | batch | network | step, ms | computed | waited | exchanged | exchange | tokens/s |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    keys = sorted({(s["network"], s["ranks"], s["threads"], s["batch"]) for s in samples})
    for key in keys:
        of = [s for s in samples if (s["network"], s["ranks"], s["threads"], s["batch"]) == key]
        median = lambda name: statistics.median(s[name] for s in of)
        step, waited, exchange = median("seconds"), median("waited"), median("exchange")
        network, ranks, threads, batch = key
        print(f"| {ranks} x {threads} thread{'s' * (threads > 1)} | {batch} | {network} | "
              f"{1e3 * step:.0f} | {1e3 * (step - waited - exchange):.0f} | {1e3 * waited:.0f} | "
              f"{median('bytes') / 1e6:.1f} MB | {1e3 * exchange:.0f} ms, {100 * exchange / step:.0f} % | "
              f"{median('tokens_per_second'):.0f} |")

    share = arguments.share or (statistics.median(efficiency.values()) if efficiency else 0.9)
    size = max(s["bytes"] for s in samples)
    print(f"\nPrediction, {1e6 * b:.0f} us a token, 8 sequences of 128 tokens a rank, {size / 1e6:.1f} MB a step, "
          f"links used to {100 * share:.0f} %:")
    print("\n| ranks | " + " | ".join(f"{name}: step, ms; exchange; efficiency" for name in NETWORKS) + " |")
    print("|---:|" + "---|" * len(NETWORKS))
    tokens = 8 * 128
    for ranks in [2, 8, 32, 128, 512, 1024]:
        cells = []
        for rate in NETWORKS.values():
            compute = a + b * tokens
            waited = spread * compute * math.sqrt(2 * math.log(ranks))
            exchange = volume(ranks, size) / (share * rate) + 2 * (ranks - 1) * LATENCY
            step = compute + waited + exchange
            cells.append(f"{1e3 * step:.0f}; {100 * exchange / step:.0f} %; {100 * compute / step:.0f} %")
        print(f"| {ranks} | " + " | ".join(cells) + " |")
    limit = 0.3
    rate = share * NETWORKS["1 Gbit/s"]
    exchange = volume(2, size) / rate
    needed = (exchange * (1 - limit) / limit - a) / b
    print(f"\nAt 1 Gbit/s between two ranks the exchange is {100 * limit:.0f} % of a step with "
          f"{needed:.0f} tokens a rank, {needed / 128:.1f} sequences of 128")


if __name__ == "__main__":
    main()
