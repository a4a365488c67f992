//! Target files.

use crate::case::{Case, messages};

const PI: &str = "name = \"pi\"\n[transport]\nkind = \"ssh\"\naddress = \"192.0.2.1\"\n";

fn profile(about: &str, text: impl Into<Vec<u8>>) -> Case {
    Case::new(about, "profile --target t.toml --out m.jsonl").file("t.toml", text)
}

#[test]
fn target_files() {
    let with = |line: &str| profile(line, format!("{line}\n{PI}"));
    let pi = |from: &str, to: &str| {
        assert!(PI.contains(from));
        profile(to, PI.replace(from, to))
    };
    let simulated = |line: &str| {
        profile(line, format!("name = \"s\"\n[transport]\nkind = \"simulated\"\n{line}\n"))
    };
    let find = |name: &str| Case::with(format!("{name:?}"), &["profile", "--target", name]);
    let cases = [
        find("phone"),
        find(""),
        find("missing.toml"),
        find(".."),
        find("a/b"),
        find("\u{1b}[2J"),
        find("local@10.0.0.1"),
        find("raspberry-pi-4@"),
        find("raspberry-pi-4@-oProxyCommand=touch asked"),
        find("raspberry-pi-4@a b"),
        with("schema = 9"),
        with("schema = \"one\""),
        with("cores = [3, 3]"),
        with("cores = [1024]"),
        with("threads = 0"),
        with("threads = 5000"),
        with("colour = \"red\""),
        with("folder = \"\""),
        with("folder = \"a\\nb\""),
        with("environment = { \"A B\" = \"x\" }"),
        with("environment = { A = 3 }"),
        with("runner = \"nice\""),
        pi("\"pi\"", "\"..\""),
        pi("\"pi\"", "\"a/b\""),
        pi("\"pi\"", "\"\\u001b[31mpi\""),
        pi("\"pi\"", "\"\""),
        pi("\"ssh\"", "\"telepathy\""),
        pi("kind = \"ssh\"\n", ""),
        pi("address = \"192.0.2.1\"\n", ""),
        pi("192.0.2.1", "-oProxyCommand=touch asked"),
        pi("192.0.2.1", ""),
        pi("address = \"192.0.2.1\"", "address = 7"),
        pi("address = \"192.0.2.1\"", "address = \"192.0.2.1\"\nport = 0"),
        pi("address = \"192.0.2.1\"", "address = \"192.0.2.1\"\nport = 70000"),
        pi("address = \"192.0.2.1\"", "adress = \"192.0.2.1\""),
        profile("no transport", "name = \"pi\"\n"),
        profile("an empty file", ""),
        profile("an empty prefix", "name = \"c\"\n[transport]\nkind = \"command\"\nprefix = []\n"),
        profile(
            "a runner for local",
            "name = \"l\"\nrunner = [\"nice\"]\n[transport]\nkind = \"local\"\n",
        ),
        simulated("noise = -1.0"),
        simulated("noise = nan"),
        simulated("outliers = 2.0"),
        simulated("pace = -1.0"),
        simulated("other_load = 1.0"),
        simulated("battery_percent = 300"),
        simulated("memory_gb_per_s = 0.0"),
        simulated("clusters = []"),
        simulated(
            "clusters = [{ name = \"a\", cores = 9223372036854775807, frequency_mhz = 1.0, \
             flops_per_cycle = 1.0 }]",
        ),
        simulated("drift = { amplitude = 2.0, period_s = 1.0 }"),
        simulated("weather = \"rain\""),
        Case::new("two of one name", "profile --target t.toml --target asked.toml")
            .file("t.toml", "name = \"asked\"\n[transport]\nkind = \"simulated\"\n"),
    ];
    insta::assert_snapshot!(messages(&cases));
}
