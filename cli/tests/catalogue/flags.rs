//! Options of the command line.

use crate::case::{Case, messages};

fn all(commands: &[&str]) -> String {
    let cases: Vec<Case> =
        commands.iter().map(|command| Case::new(format!("atb {command}"), command)).collect();
    messages(&cases)
}

#[test]
fn of_measuring() {
    insta::assert_snapshot!(all(&[
        "profile --target asked.toml --samples 0",
        "profile --target asked.toml --samples 18446744073709551615",
        "profile --target asked.toml --samples 18446744073709551616",
        "profile --target asked.toml --samples=-1",
        "profile --target asked.toml --retests 1000000",
        "profile --target asked.toml --threads 0",
        "profile --target asked.toml --batch 0",
        "profile --target asked.toml --sequence 0",
        "profile --target asked.toml --sequence 9223372036854775807",
        "profile --target asked.toml --baseline 12-768",
        "profile --target asked.toml --baseline 1-1-1-1-1-1",
        "profile --target asked.toml --within 1-2-3-4-8",
        "profile --target asked.toml --within 2-64-128-3-64",
        "profile --target asked.toml --sampling best",
        "profile --target asked.toml --seed=-1",
        "profile --target asked.toml --colour red",
        "profile --target asked.toml --out missing/m.jsonl",
        "profile --target",
        "refine --target asked.toml --initial-samples 0",
        "refine --target asked.toml --samples-per-round 0",
        "refine --target asked.toml --max-samples 0",
        "refine --target asked.toml --target-mape nan",
        "refine --target asked.toml --target-mape=-1",
        "refine --target asked.toml --around inf",
        "refine --target asked.toml --most 5",
        "bench missing.onnx --target asked.toml",
        "bench missing.onnx --target asked.toml --sequence 0",
        "bench missing.onnx --target asked.toml --baseline 999999-1-1-1-1",
        "bench missing.onnx --target asked.toml --engine fast",
        "bench missing.onnx --target asked.toml --ort-library x",
        "doctor --target missing.toml",
        "agent build --target missing.toml",
    ]));
}

#[test]
fn of_what_follows() {
    insta::assert_snapshot!(all(&[
        "optimise",
        "predict",
        "predict 1-2-3",
        "predict 5-wide-1054-8-512",
        "predict 3-320-[608,512]-4-256",
        "predict 4-320-608-5-256",
        "predict 0-320-608-5-255",
        "predict 1-0-608-5-255",
        "predict 4096-320-608-5-255",
        "predict 1-99999999-608-5-255",
        "predict 1-320-[608-5-255",
        "predict 4-256-480-12-192 --predictor missing.json",
        "fit",
        "fit missing.jsonl",
        "fit missing.jsonl --model forest",
        "fit missing.jsonl --quantity colour",
        "fit missing.jsonl --space moon",
        "calibrate missing.jsonl",
        "search --population 0 --generations 0",
        "search --low 2",
        "search --high nan",
        "search --latency-ms=-1",
        "search --latency-ms 4 --speedup 2",
        "search --confidence-level 1",
        "search --max-parameters 0",
        "search --strategy clever",
        "search --loss hinge",
        "search --measure 1001",
        "search --level 0.9",
        "search missing.toml",
        "extract --out x",
        "extract --arch 2-64-128-5-64 --out x",
        "extract --arch 2-64-128-4-64 --out x --superplm missing",
        "extract --arch 2-48-64-12-48 --out x --superplm auto --weights i4",
        "extract --arch 50-48-64-12-48 --out x --superplm auto",
        "export missing",
        "export missing --sequence 0",
        "export missing --batch 5000",
        "verify missing --model missing",
        "evaluate missing --task SST-2",
        "evaluate",
    ]));
}

#[test]
fn of_training() {
    insta::assert_snapshot!(all(&[
        "train",
        "train missing.toml",
        "train --text missing.txt --start missing",
        "train --text missing.txt --steps 0",
        "train --text missing.txt --steps 18446744073709551615",
        "train --text missing.txt --time-limit soon",
        "train --text missing.txt --time-limit 99999999999999999999h",
        "train --text missing.txt --objective clever",
        "train --text missing.txt --accelerator abacus",
        "train --text missing.txt --size 1-2",
        "train --text missing.txt --start random --size 1000-1000000-1000000-1-1000000",
        "train --text missing.txt --for 2h",
        "finetune",
        "finetune missing",
        "finetune missing --task missing",
        "finetune missing --task missing.toml",
        "finetune missing --task SST-2 --data missing",
        "finetune missing --task SST-2 --epochs 0",
        "finetune missing --task SST-2 --epochs 18446744073709551615",
        "finetune missing --task SST-2 --batch-size 0",
        "finetune missing --task SST-2 --learning-rate nan",
        "finetune missing --task SST-2 --dropout 1",
        "finetune missing --task SST-2 --held-out 0",
        "finetune missing --task SST-2 --sequence 0",
        "finetune missing --task SST-2 --seed 1 --seed 1",
        "finetune missing --task SST-2 --max-train-samples 0",
        "finetune missing.toml",
    ]));
}
