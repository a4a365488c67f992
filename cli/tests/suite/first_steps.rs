//! What a newcomer meets first: a configuration, completions, the manual.

use std::fs;
use std::process::{Command, Output};

fn atb(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atb"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("atb starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_first_configuration_says_what_was_asked_for_and_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("mails.txt"), "One paragraph.\n").expect("writes");
    let arguments = [
        "init",
        "mine.toml",
        "--target",
        "raspberry-pi-5",
        "--latency-ms",
        "12.5",
        "--text",
        "mails.txt",
    ];
    let made = atb(folder.path(), &arguments);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(text(&made.stdout), "mine.toml\n");
    assert!(
        text(&made.stderr)
            .contains("hint: check the device with `atb doctor --target raspberry-pi-5`")
    );
    let printed = atb(folder.path(), &["run", "mine.toml", "--print-config"]);
    let printed = text(&printed.stdout);
    for line in ["target = \"raspberry-pi-5\"", "latency_ms = 12.5", "text = \"mails.txt\""] {
        assert!(printed.lines().any(|it| it == line), "no {line} in {printed}");
    }
    assert!(!printed.contains("speedup"), "{printed}");
    // What was printed is a configuration with the same effect.
    fs::write(folder.path().join("printed.toml"), &printed).expect("writes");
    let again = atb(folder.path(), &["run", "printed.toml", "--print-config"]);
    assert_eq!(text(&again.stdout), printed);

    let before = fs::read(folder.path().join("mine.toml")).expect("reads");
    let again = atb(folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("error: mine.toml is there already"));
    assert_eq!(fs::read(folder.path().join("mine.toml")).expect("reads"), before);
}

#[test]
fn what_is_wrong_with_an_answer_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, problem) in [
        (&["init", "--target", "no-such-board"][..], "no-such-board"),
        (&["init", "--speedup=-4"], "speedup"),
        (&["init", "--latency-ms", "0"], "latency_ms"),
        (&["init", "--text", "absent.txt"], "absent.txt is no file"),
    ] {
        let refused = atb(folder.path(), arguments);
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(text(&refused.stderr).contains(problem), "{}", text(&refused.stderr));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 0);
}

#[test]
fn shells_complete_every_command_and_each_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&atb(folder.path(), &["completions", shell]).stdout);
        for command in ["run", "profile", "report", "finetune"] {
            assert!(script.contains(command), "{shell} knows no {command}");
        }
    }
    let made = atb(folder.path(), &["man"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    for page in ["atb.1", "atb-run.1", "atb-report.1", "atb-agent-build.1"] {
        let page_text = fs::read_to_string(folder.path().join("man").join(page));
        assert!(page_text.is_ok_and(|it| it.contains(".TH")), "no {page}");
    }
}

#[test]
fn the_doctor_of_this_computer_says_what_is_missing_to_reach_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let examined = Command::new(env!("CARGO_BIN_EXE_atb"))
        .arg("doctor")
        .env("PATH", folder.path())
        .current_dir(folder.path())
        .output()
        .expect("atb starts");
    let lines = text(&examined.stdout);
    for (name, remedy) in
        [("64 bit", "rustup target add"), ("ssh", "openssh-client"), ("adb", "apt install adb")]
    {
        let mut after = lines.lines().skip_while(|line| !line.starts_with(name));
        assert!(after.next().is_some_and(|line| line.contains("doubtful")), "{lines}");
        assert!(
            after.next().is_some_and(|line| line.contains("hint:") && line.contains(remedy)),
            "{lines}"
        );
    }
    // A device is asked about nothing else.
    let device = text(&atb(folder.path(), &["doctor", "--target", "local"]).stdout);
    assert!(!device.lines().any(|line| line.starts_with("adb")), "{device}");
}
