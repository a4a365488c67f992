//! Data files as people have them, and what is said of those that are wrong.

use std::path::Path;

use atb_tasks::{Answer, Examples, Split, Target, Task, TaskError};
use miette::Diagnostic;

/// A folder of a task's files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("a folder")).expect("creates");
            fs_err::write(path, text).expect("writes");
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn split(&self, task: &str, split: &str) -> Result<Split, TaskError> {
        let own = self.path().join(task);
        let task = Task::find(if own.is_file() { own.to_str().expect("a path") } else { task })?;
        task.read_split((!own.is_file()).then(|| self.path()), split)
    }

    /// What is said of a task's development split.
    fn refusal(&self, task: &str) -> String {
        let error = self.split(task, "dev").expect_err("refused");
        self.text(&error)
    }

    fn text(&self, error: &TaskError) -> String {
        let help = error.help().map(|help| help.to_string()).unwrap_or_default();
        let text = format!("{error}\n  help: {help}\n");
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

fn rows(split: &Split) -> Vec<(&str, Option<&str>, Target)> {
    let Examples::Rows(rows) = &split.examples else { panic!("rows") };
    rows.iter().map(|row| (row.first.as_str(), row.second.as_deref(), row.target)).collect()
}

#[test]
fn every_layout_of_glue_is_read() {
    let folder = Folder::of(&[
        ("SST-2/dev.tsv", "\u{feff}sentence\tlabel\r\na \"fine\" film\t1\r\n\r\n\"dull\t0\r\n"),
        ("cola/dev.tsv", "gj04\t1\t\tThey left.\ngj04\t0\t*\tThey lefts.\n"),
        (
            "MRPC/dev.tsv",
            "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said \"so\tSo he said\n",
        ),
        (
            "STS-B/dev.tsv",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tg\tf\t2012\t1\tnone\tnone\tA man.\tA woman.\t2.500\n",
        ),
        (
            "QQP/dev.tsv",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy?\tHow?\t0\n4\t5\n6\t7\t8\t\tWho?\t1\n",
        ),
        (
            "MNLI/dev_matched.tsv",
            "index\tpromptID\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\t1\tA.\tB.\tneutral\tentailment\tneutral\n",
        ),
        ("MNLI/train.tsv", "index\tsentence1\tsentence2\tgold_label\n0\tA.\tB.\tcontradiction\n"),
        ("QNLI/dev.tsv", "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tnot_entailment\n"),
        ("RTE/dev.tsv", "0\tA.\tB.\tentailment\n"),
        ("WNLI/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t1\n"),
    ]);
    let read = |task: &str, split: &str| folder.split(task, split).expect(task);
    let label = |second, label| (second, Target::Label(label));
    let one = |task: &str, split: &str| {
        let split = read(task, split);
        let (_, second, target) = rows(&split)[0];
        (second.map(str::to_owned), target)
    };
    assert_eq!(
        rows(&read("SST-2", "dev")),
        [("a \"fine\" film", None, Target::Label(1)), ("\"dull", None, Target::Label(0))]
    );
    assert_eq!(
        rows(&read("CoLA", "dev")),
        [("They left.", None, Target::Label(1)), ("They lefts.", None, Target::Label(0))]
    );
    let second = |text: &str| Some(text.to_owned());
    assert_eq!(rows(&read("MRPC", "dev"))[0].0, "He said \"so");
    assert_eq!(one("MRPC", "dev"), label(second("So he said"), 1));
    assert_eq!(one("STS-B", "dev"), (second("A woman."), Target::Score(2.5)));
    assert_eq!(one("STS-B-similarity", "dev"), (second("A woman."), Target::Score(2.5)));
    let qqp = read("QQP", "dev");
    assert_eq!((qqp.len(), qqp.left_out), (2, 1));
    assert_eq!(rows(&qqp)[1], ("", Some("Who?"), Target::Label(1)));
    assert_eq!(one("MNLI", "dev"), label(second("B."), 2));
    assert_eq!(one("MNLI", "train"), label(second("B."), 0));
    assert_eq!(one("QNLI", "dev"), label(second("He."), 1));
    assert_eq!(one("RTE", "dev"), label(second("B."), 0));
    assert_eq!(one("WNLI", "dev"), label(second("B."), 1));
}

#[test]
fn retrieval_takes_the_pairs_that_belong_together() {
    let folder = Folder::of(&[(
        "QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tnot_entailment\n1\tWhen?\tNow.\tentailment\n",
    )]);
    let split = folder.split("QNLI-retrieval", "dev").expect("reads");
    assert_eq!(rows(&split), [("When?", Some("Now."), Target::Pair)]);
}

const OWN: &str = "name = 'tickets'\nkind = 'classification'\nfirst = 'title'\n\
                   second = 'body'\ntarget = 'kind'\n";

#[test]
fn a_task_of_one_s_own_is_read_from_csv_tsv_and_json_lines() {
    let csv =
        "kind,title,body\nbug,\"It \"\"stops\"\", often\",\"Two\nlines\"\n\nidea,Dark mode,\"\"\n";
    let tsv = "kind\ttitle\tbody\nbug\tIt \"stops\"\tTwo\n";
    let lines = "{\"title\": \"It stops\", \"body\": \"Two\", \"kind\": \"bug\", \"id\": 3}\n\n\
                 {\"title\": \"Dark mode\", \"body\": \"\", \"kind\": \"idea\"}\n";
    let splits = "splits = { train = 'a.csv', dev = 'b.tsv', more = 'c.jsonl' }\n";
    let folder = Folder::of(&[
        ("task.toml", &format!("{OWN}{splits}")),
        ("a.csv", csv),
        ("b.tsv", tsv),
        ("c.jsonl", lines),
    ]);
    let train = folder.split("task.toml", "train").expect("reads");
    assert_eq!(train.labels, ["bug", "idea"]);
    assert_eq!(
        rows(&train),
        [
            ("It \"stops\", often", Some("Two\nlines"), Target::Label(0)),
            ("Dark mode", Some(""), Target::Label(1))
        ]
    );
    let Examples::Rows(examples) = &train.examples else { panic!("rows") };
    assert_eq!(examples[1].line, 5);
    let dev = folder.split("task.toml", "dev").expect("reads");
    assert_eq!(rows(&dev), [("It \"stops\"", Some("Two"), Target::Label(0))]);
    let more = folder.split("task.toml", "more").expect("reads");
    assert_eq!(rows(&more)[1], ("Dark mode", Some(""), Target::Label(1)));
}

#[test]
fn squad_is_read_with_offsets_in_bytes() {
    let squad = |answers: &str| {
        format!(
            "{{\"version\": \"1.1\", \"data\": [{{\"title\": \"t\", \"paragraphs\": [{{\"context\": \
             \"The caf\u{e9} opened in 1973.\", \"qas\": [{{\"id\": \"q1\", \"question\": \"When?\", \
             \"answers\": [{answers}]}}]}}]}}]}}"
        )
    };
    let with = |answers: &str| Folder::of(&[("SQuAD/dev-v1.1.json", &squad(answers))]);
    let right = "{\"text\": \"1973\", \"answer_start\": 19}";
    let split = with(right).split("SQuAD", "dev").expect("reads");
    let Examples::Questions(questions) = &split.examples else { panic!("questions") };
    assert_eq!(questions[0].answers, [Answer { text: "1973".to_owned(), start: 20 }]);

    let refused = [
        "{\"text\": \"1974\", \"answer_start\": 19}",
        "{\"text\": \"1973\", \"answer_start\": 18}",
        "{\"text\": \"1973\", \"answer_start\": 1900}",
        "{\"text\": \"\", \"answer_start\": 19}",
        "",
        "{\"text\": \"1973\"}",
    ];
    let refused: String = refused.iter().map(|answers| with(answers).refusal("SQuAD")).collect();
    let empty = Folder::of(&[("SQuAD/dev-v1.1.json", "{\"data\": []}")]).refusal("SQuAD");
    insta::assert_snapshot!(format!("{refused}{empty}"));
}

#[test]
fn rows_that_are_wrong_are_named() {
    let glue =
        |task: &str, text: &str| Folder::of(&[(&format!("{task}/dev.tsv"), text)]).refusal(task);
    let own = |file: &str, text: &str| {
        let task = format!("{OWN}labels = ['bug', 'idea']\nsplits = {{ dev = '{file}' }}\n");
        Folder::of(&[("task.toml", &task), (file, text)]).refusal("task.toml")
    };
    let scored = |score: &str| {
        let header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n";
        glue("STS-B", &format!("{header}0\tg\tf\t2\t1\tn\tn\tA man.\tA woman.\t{score}\n"))
    };
    let all = [
        glue("SST-2", "sentence\tlabel\nfine\t1\ndull\t2\n"),
        glue("SST-2", "sentence\tlabel\nfine\t1\ndull\n"),
        glue("SST-2", "sentence\tlabel\n"),
        glue("SST-2", ""),
        glue("MNLI", "a\tb\tc\n"),
        glue("RTE", "index\tsentence1\tsentence\tlabel\n"),
        scored("5.1"),
        scored("NaN"),
        scored("much"),
        own("dev.csv", "kind,title,body\nbug,It stops,\nwish,Dark mode,\n"),
        own("dev.csv", "kind,title,body\nbug,\"It\nstops\",\n\nbug,Dark mode\n"),
        own("dev.csv", "kind,title,body\nbug,,\n"),
        own("dev.csv", "kind,heading,body\nbug,It stops,\n"),
        own(
            "dev.jsonl",
            "{\"title\": \"a\", \"body\": \"b\", \"kind\": \"bug\"}\n{\"title\": \"a\"}\n",
        ),
        own("dev.jsonl", "{\"title\": 3, \"body\": \"b\", \"kind\": \"bug\"}\n"),
        own("dev.jsonl", "{\"title\": \"a\",\n"),
        own("dev.json", "[]"),
        own("dev.xlsx", "x"),
        Folder::of(&[]).refusal("CoLA"),
    ];
    insta::assert_snapshot!(
        all.concat().replace(std::env::temp_dir().to_str().expect("a path"), "TMP")
    );
    let folder = Folder::of(&[("SST-2/dev.tsv", "")]);
    fs_err::write(folder.path().join("SST-2/dev.tsv"), b"sentence\tlabel\nfine\t1\n\xff\t1\n")
        .expect("writes");
    insta::assert_snapshot!(folder.refusal("SST-2"), @r"
    SST-2/dev.tsv: line 3: not UTF-8 text
      help: convert the file to UTF-8
    ");
}

#[test]
fn a_split_that_leaks_into_another_is_refused_but_for_published_ones() {
    let splits = "labels = ['bug', 'idea']\nsplits = { train = 'train.csv', dev = 'dev.csv' }\n";
    let folder = Folder::of(&[
        ("task.toml", &format!("{OWN}{splits}")),
        ("train.csv", "kind,title,body\nbug,It stops,now\nidea,Dark  mode,please\n"),
        ("dev.csv", "kind,title,body\nbug,It stops,later\nidea,dark mode,Please\n"),
        ("CoLA/train.tsv", "gj04\t1\t\tThey left.\n"),
        ("CoLA/dev.tsv", "gj04\t1\t\tThey left.\ngj04\t1\t\tThey stayed.\n"),
    ]);
    let read = |task: &str, split: &str| folder.split(task, split).expect("reads");
    let path = folder.path().join("task.toml");
    let task = Task::find(path.to_str().expect("a path")).expect("reads");
    let error = task.check_leaks(&read("task.toml", "train"), &read("task.toml", "dev"));
    insta::assert_snapshot!(folder.text(&error.expect_err("leaks")), @r"
    dev.csv: line 3: the same as train.csv: line 3; `train` leaks into `dev` with 1 of its examples
      help: remove the texts from one of the two splits; a score on texts that were trained on means nothing
    ");
    let cola = Task::find("CoLA").expect("built in");
    let count = cola.check_leaks(&read("CoLA", "train"), &read("CoLA", "dev"));
    assert_eq!(count.expect("published"), 1);
}
