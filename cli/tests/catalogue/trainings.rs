//! Configurations of trainings and fine-tunings.

use crate::case::{Case, messages};

#[test]
fn configurations_of_a_training() {
    let train = |lines: &str| {
        let base = [
            "text = [\"text.txt\"]",
            "start = \"random\"",
            "size = \"2-48-64-12-48\"",
            "arch = \"1-36-32-12-36\"",
            "teacher = \"superplm\"",
            "output = \"out\"",
        ];
        let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let mut text: String = base
            .iter()
            .filter(|line| key(line) != key(lines) && (key(line) != "arch" || key(lines) != "size"))
            .map(|line| format!("{line}\n"))
            .collect();
        // A space counts only where no architecture is given.
        if lines.contains("space") {
            text = text.replace("arch = \"1-36-32-12-36\"\n", "");
        }
        text += &format!("{lines}\n");
        Case::new(lines.replace('\n', "; "), "train train.toml")
            .file("train.toml", text)
            .shared("text.txt")
            .shared("superplm")
    };
    let lines = [
        "sequence_length = 0",
        "sequence_length = 600",
        "sequence_length = 9223372036854775807",
        "batch_size = 0",
        "batch_size = 9223372036854775807",
        "gradient_accumulation_steps = 0",
        "weight_decay = -1.0",
        "weight_decay = nan",
        "max_grad_norm = 0.0",
        "seed = -1",
        "checkpoint_every = 0",
        "validate_every = 0",
        "time_limit = \"soon\"",
        "time_limit = 90",
        "objective = \"magic\"",
        "objective = { name = \"kd\", colour = 1 }",
        "objective = { kind = \"kd\" }",
        "accelerator = \"abacus\"",
        "layout = \"poems\"",
        "size = \"0-48-64-12-48\"",
        "size = \"1-48-64-12\"",
        "arch = \"1-48-640-12-48\"",
        "panel = [\"1-48-640-12-48\"]",
        "panel = [\"none\"]",
        "rows = 8",
        "clip_norm = 1.0",
        "colour = \"red\"",
        "[schedule]\nsteps = 0",
        "[schedule]\nsteps = 9223372036854775807",
        "[schedule]\nsteps = 10\nwarmup_steps = 20",
        "[schedule]\nlearning_rate = 0.0",
        "[schedule]\nlearning_rate = inf",
        "[one_shot]\nper_step = 0",
        "[one_shot]\nper_step = 100000",
        "[one_shot]\nmax_width_probability = 2.0",
        "[one_shot]\nspace = \"mlm\"",
        "[held_out]\nsequence_length = 1",
        "[held_out]\nsequence_length = 600",
        "[held_out]\nparagraphs = 0",
        "[held_out]\ntext = \"missing.txt\"",
    ];
    let mut cases: Vec<Case> = lines.map(train).into();
    cases.push(train("").about("no text to train on").file("train.toml", "output = \"out\"\n"));
    let from = |start: &str| {
        let text = format!(
            "text = [\"text.txt\"]\nstart = \"random\"\nobjective = \"mlm\"\noutput = \"out\"\n{start}\n"
        );
        train("").about(format!("random, {start}")).file("train.toml", text)
    };
    cases.push(from(""));
    cases.push(from("size = \"1000-1000000-1000000-1-1000000\""));
    cases.push(from("size = \"1-20000-20000-1-20000\""));
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn configurations_of_a_fine_tuning() {
    let task = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\n\
                first = 'text'\ntarget = 'label'\nsplits = { train = 'train.csv' }\n";
    let rows = format!("text,label\n{}", "an awful day,bad\na splendid day,good\n".repeat(20));
    let finetune = |lines: &str| {
        let text =
            format!("model = \"superplm\"\ntask = \"mood.toml\"\noutput = \"out\"\n{lines}\n");
        Case::new(lines.replace('\n', "; "), "finetune finetune.toml")
            .file("finetune.toml", text)
            .file("mood.toml", task)
            .file("train.csv", rows.clone())
            .shared("superplm")
    };
    let lines = [
        "seeds = []",
        "seeds = [1, 1]",
        "seeds = [-1]",
        "held_out = 0",
        "max_train_samples = 0",
        "arch = \"9-48-64-12-48\"",
        "train_file = \"missing.csv\"",
        "data = \"missing\"",
        "teacher = \"missing\"",
        "colour = 1",
        "[training]\nepochs = 0",
        "[training]\nepochs = 9223372036854775807",
        "[training]\nbatch_size = 0",
        "[training]\nlearning_rate = nan",
        "[training]\nlearning_rate = 100.0",
        "[training]\nwarmup_ratio = 2.0",
        "[training]\ndropout = 1.0",
        "[training]\nmax_grad_norm = -1.0",
        "[training.distillation]\nweight = 7.0",
        "[training.distillation]\ntemperature = 0.0",
        "[evaluation]\nsequence = 0",
        "[evaluation]\nspan_stride = 0",
        "[evaluation]\nconfidence = 2.0",
        "[evaluation]\nresamples = 9223372036854775807",
    ];
    let mut cases: Vec<Case> = lines.map(finetune).into();
    let of_rows = |about: &str, rows: &str| finetune("").about(about).file("train.csv", rows);
    cases.extend([
        of_rows("no rows", "text,label\n"),
        of_rows("an empty file", ""),
        of_rows("one row", "text,label\na day,bad\n"),
        of_rows("no such column", "words,label\na day,bad\n"),
        of_rows("a label that is none", &rows.replacen("bad", "ugly", 1)),
        of_rows("a row too short", &rows.replacen("an awful day,bad", "an awful day", 1)),
        of_rows("a quote without an end", &rows.replacen("an awful", "\"an awful", 1)),
        of_rows("an empty text", &rows.replacen("an awful day", "", 1)),
        finetune("")
            .about("bytes that are no text")
            .file("train.csv", b"text,label\n\xff,bad\n".to_vec()),
        finetune("").about("a folder as examples").folder("train.csv"),
    ]);
    insta::assert_snapshot!(messages(&cases));
}
