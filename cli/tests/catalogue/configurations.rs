//! Job configurations and spaces.

use crate::case::{Case, messages};

/// `atb run` on a configuration of these lines.
fn job(lines: &str) -> Case {
    let text = format!("target = \"asked.toml\"\n{lines}\n");
    Case::new(lines.replace('\n', "; "), "run job.toml").file("job.toml", text)
}

#[test]
fn values_of_a_job() {
    let lines = [
        "finalists = 0",
        "finalists = 1001",
        "finalists = -1",
        "finalists = 1.5",
        "finalists = \"three\"",
        "finalists = [3]",
        "finalist = 3",
        "target = 3",
        "superplm = \"nowhere\"",
        "superplm = \"\"",
        "space = \"moon\"",
        "space = 7",
        "[budget]\nspeedup = 0",
        "[budget]\nspeedup = -16.0",
        "[budget]\nspeedup = nan",
        "[budget]\nspeedup = inf",
        "[budget]\nspeedup = 1e308",
        "[budget]\nspeedup = \"fast\"",
        "[budget]\nlatency_ms = 0.0",
        "[budget]\nlatency_ms = -inf",
        "[budget]\nlatency_ms = 4.0\nspeedup = 2.0",
        "[budget]\nlow = nan",
        "[budget]\nlow = 2.0",
        "[budget]\nhigh = 1e308",
        "[budget]\nhigh = 0.0",
        "[budget]\nconfidence_level = 2.0",
        "[budget]\nconfidence_level = 1.0",
        "[budget]\nlevel = 0.9",
        "[budget]\nbaseline = \"12-768\"",
        "[budget]\nbaseline = \"0-768-3072-12-768\"",
        "[budget]\nbaseline = \"999999-768-3072-12-768\"",
        "[budget]\nbaseline = \"1-1-1-1-99999999999999999999999\"",
        "[budget]\nagainst = \"12-768-3072-12-768\"",
        "[budget.limits]\nparameters = 0",
        "[budget.limits]\nvocabulary = 0",
        "[budget.limits]\nbytes_per_parameter = 9",
        "[budget.limits]\nmemory_bytes = -5",
        "[profile]\nsamples = 0",
        "[profile]\nsamples = 18446744073709551615",
        "[profile]\nsamples = 9223372036854775807",
        "[profile]\nretests = 1000000",
        "[profile]\nsampling = \"random\"",
        "[profile]\nbaselines = [\"12-768-3072-5-768\"]",
        "[profile]\nbaselines = [3]",
        "[protocol]\nthreads = 0",
        "[protocol]\nthreads = 5000",
        "[protocol]\ncores = [2, 2]",
        "[protocol]\ncores = [4096]",
        "[protocol]\ncores = [-1]",
        "[protocol]\nreference = \"none\"",
        "[protocol]\nsettle_runs = 100000",
        "[protocol]\nmin_pairs = 0",
        "[protocol]\nmax_pairs = 0",
        "[protocol]\nmin_pairs = 100\nmax_pairs = 10",
        "[protocol]\nratio_half_width = nan",
        "[protocol]\nratio_half_width = -0.1",
        "[protocol]\nmax_seconds = -1.0",
        "[protocol]\nmax_seconds = 1e308",
        "[protocol]\nvocabulary = 0",
        "[protocol]\nseed = -1",
        "[protocol.warm_up]\nmin_runs = 9223372036854775807",
        "[protocol.warm_up]\ntolerance = nan",
        "[protocol.drift]\ntolerance = -1.0",
        "[protocol.drift]\nmax_redos = 100000",
        "[protocol.drift]\ncool_down_seconds = -2.0",
        "[protocol.drift]\nsession_seconds = inf",
        "[protocol.workload]\nbatch = 0",
        "[protocol.workload]\nbatch = 9223372036854775807",
        "[protocol.workload]\nsequence = 0",
        "[protocol.workload]\nsequence = 100000",
        "[search]\npopulation = 0",
        "[search]\npopulation = 1000000000",
        "[search]\ngenerations = 0",
        "[search]\ngenerations = 9223372036854775807",
        "[search]\nfresh = 2",
        "[search]\nfresh = nan",
        "[search]\ncrossover = -0.5",
        "[search]\nthreads = 0",
        "[search]\nthreads = 100000",
        "[search]\nstrategy = \"clever\"",
        "[search]\nstrategy = \"evolved\"",
        "[search.mutation.layers]\nprobability = 7",
        "[search.mutation.hidden]\nreach = 1000000",
        "[search.mutation.width]\nreach = 1",
        "[fitness]\nsequence_length = 0",
        "[fitness]\nsequence_length = 2",
        "[fitness]\nsequence_length = 9223372036854775807",
        "[fitness]\nsequence_length = 5000",
        "[fitness]\nsequence = 64",
        "[fitness]\nparagraphs = 0",
        "[fitness]\nloss = \"hinge\"",
        "[fitness]\ntext = \"missing.txt\"",
        "[fitness]\nteacher = \"missing\"",
        "[fitness]\nloss = \"mlm\"",
    ];
    insta::assert_snapshot!(messages(&lines.map(job)));
}

#[test]
fn spaces_of_a_job() {
    let whole = "[space]\nname = \"own\"\nlayers = { min = 1, max = 2 }\nhidden = 96\n\
                 intermediate = 256\nheads = 12\nqkv = { min = 36, max = 96, step = 12 }";
    let changes = [
        ("hidden = 96", "hidden = 0"),
        ("hidden = 96", "hidden = -4"),
        ("hidden = 96", "hidden = { min = 96, max = 32 }"),
        ("hidden = 96", "hidden = { min = 32, max = 96, step = 0 }"),
        ("hidden = 96", "hidden = { min = 32, max = 9223372036854775807 }"),
        ("hidden = 96", "hidden = { from = 32, to = 96 }"),
        ("hidden = 96", "hidden = \"wide\""),
        ("hidden = 96", "hidden = 100000"),
        ("hidden = 96\n", ""),
        ("layers = { min = 1, max = 2 }", "layers = { min = 0, max = 2 }"),
        ("layers = { min = 1, max = 2 }", "layers = 4096"),
        ("layers = { min = 1, max = 2 }", "layers = { min = 50, max = 60 }"),
        ("heads = 12", "heads = 1000000"),
        ("heads = 12", "heads = 97"),
        ("qkv = { min = 36, max = 96, step = 12 }", "qkv = { min = 37, max = 37 }"),
        ("qkv = { min = 36, max = 96, step = 12 }", "qkv = { per_head = 0 }"),
        ("qkv = { min = 36, max = 96, step = 12 }", "qkv = { per_head = 9223372036854775807 }"),
        ("qkv = { min = 36, max = 96, step = 12 }", "qkv = { per_head = 512 }"),
        ("name = \"own\"", "title = \"own\""),
        ("name = \"own\"", "name = 5"),
    ];
    let of_job = |(from, to): (&str, &str)| {
        assert!(whole.contains(from), "{from}");
        let mut case = job(&whole.replace(from, to));
        case = case.about(if to.is_empty() { format!("without {from}") } else { to.to_owned() });
        case
    };
    let mut cases: Vec<Case> = changes.map(of_job).into();
    let too_fine = "[space]\nname = \"fine\"\nlayers = { min = 1, max = 6 }\n\
                    hidden = { min = 1, max = 1048576 }\nintermediate = { min = 1, max = 1048576 }\n\
                    heads = 1\nqkv = 4";
    cases.push(job(too_fine).about("a space that is too fine"));
    let profile = "profile --target asked.toml --space";
    cases.push(Case::new("no such space", &format!("{profile} moon")));
    cases.push(
        Case::new("a space that is no TOML", &format!("{profile} s.toml"))
            .file("s.toml", "name = \n"),
    );
    cases.push(
        Case::new("an empty space", &format!("{profile} s.toml")).file("s.toml", "name = 'x'\n"),
    );
    cases.push(Case::new("a folder as a space", &format!("{profile} s")).folder("s"));
    insta::assert_snapshot!(messages(&cases));
}

#[test]
fn texts_that_are_no_configuration() {
    let run = |about: &str| Case::new(about, "run job.toml");
    let many = format!("finalists = {}\n", "9".repeat(1_000_000));
    let long = format!("superplm = \"{}\n", "x".repeat(1_000_000));
    let deep = format!("space = {}\n", "[".repeat(20_000));
    let tables = format!("[{}]\n", vec!["a"; 5_000].join("."));
    let cases = [
        run("no such file"),
        run("a folder").folder("job.toml"),
        run("an unclosed text").file("job.toml", "target = \"local\n"),
        run("an unclosed table").file("job.toml", "[budget\n"),
        run("a key twice").file("job.toml", "finalists = 1\nfinalists = 2\n"),
        run("a table twice").file("job.toml", "[budget]\n[profile]\n[budget]\n"),
        run("a key without a value").file("job.toml", "target =\n"),
        run("a value without a key").file("job.toml", "= 3\n"),
        run("no TOML at all").file("job.toml", "Dear atb, please be fast.\n"),
        run("JSON").file("job.toml", "{\"target\": \"local\"}\n"),
        run("bytes that are no text").file("job.toml", b"target = \"local\"\nspace = \"\xff\"\n"),
        run("NULs").file("job.toml", vec![0; 100]),
        run("escape codes in a key").file("job.toml", "\"\\u001b[2J\" = 1\n"),
        run("escape codes in a value").file("job.toml", "space = \"\\u001b[2J\"\n"),
        run("escape codes raw").file("job.toml", "space = \"\u{1b}[2J\"\n"),
        run("a number of a million digits").file("job.toml", many),
        run("a line of a million characters").file("job.toml", long),
        run("twenty thousand brackets").file("job.toml", deep),
        run("five thousand tables in each other").file("job.toml", tables),
        run("a byte-order mark and a mistake")
            .file("job.toml", "\u{feff}target = \"asked.toml\"\nfinalists = 0\n"),
        run("Windows line ends and a mistake")
            .file("job.toml", "target = \"asked.toml\"\r\n\r\nfinalists = 0\r\n"),
        run("a text of no paragraph")
            .file("job.toml", "target = \"asked.toml\"\n[fitness]\ntext = \"t\"\n")
            .file("t", "\n\n"),
        run("a text that is no UTF-8")
            .file("job.toml", "target = \"asked.toml\"\n[fitness]\ntext = \"t\"\n")
            .file("t", b"one line\n\xffand another\n"),
        run("a folder as a text")
            .file("job.toml", "target = \"asked.toml\"\n[fitness]\ntext = \"t\"\n")
            .folder("t"),
    ];
    insta::assert_snapshot!(messages(&cases));
}
