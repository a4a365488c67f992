//! Files of tasks.

use crate::case::{Case, messages};

#[test]
fn task_files() {
    let whole = "name = 'mood'\nkind = 'classification'\nlabels = ['bad', 'good']\n\
                 first = 'text'\ntarget = 'label'\nmetrics = ['accuracy']\n\
                 splits = { dev = 'dev.csv' }\n";
    let evaluate = |about: &str, text: &str| {
        Case::new(about, "evaluate superplm --task mood.toml")
            .file("mood.toml", text)
            .file("dev.csv", "text,label\na day,bad\n")
            .shared("superplm")
    };
    let changed = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}");
        let about = if to.is_empty() { format!("without {from}") } else { to.to_owned() };
        evaluate(about.trim(), &whole.replacen(from, to, 1))
    };
    let cases = [
        evaluate("an empty file", ""),
        evaluate("no TOML", "my notes"),
        changed("name = 'mood'\n", ""),
        changed("'classification'", "'divination'"),
        changed("kind = 'classification'\n", ""),
        changed("['bad', 'good']", "['bad']"),
        changed("['bad', 'good']", "['bad', 'bad']"),
        changed("['bad', 'good']", "'bad'"),
        changed("first = 'text'\n", ""),
        changed("target = 'label'\n", ""),
        changed("['accuracy']", "['luck']"),
        changed("['accuracy']", "['pearson']"),
        changed("{ dev = 'dev.csv' }", "{}"),
        changed("{ dev = 'dev.csv' }", "{ dev = 'missing.csv' }"),
        changed("{ dev = 'dev.csv' }", "{ dev = 'dev.parquet' }"),
        changed("name = 'mood'", "name = 'mood'\ncolour = 1"),
        changed("'classification'", "'regression'"),
        changed("'classification'", "'similarity'"),
        changed("'classification'", "'retrieval'"),
        changed("name = 'mood'", "name = 'mood'\nrange = [5, 0]"),
        changed("name = 'mood'", "name = 'mood'\nrange = [0, inf]"),
        changed("name = 'mood'", "name = 'mood'\nformat = 'parquet'"),
        evaluate("a model without a head for it", whole),
        Case::new("no such task", "evaluate superplm --task Divination").shared("superplm"),
        Case::new("no data", "evaluate superplm --task SST-2 --data .").shared("superplm"),
        Case::new("no model", "evaluate nowhere --task mood.toml")
            .file("mood.toml", whole)
            .file("dev.csv", "text,label\na day,bad\n"),
    ];
    insta::assert_snapshot!(messages(&cases));
}
