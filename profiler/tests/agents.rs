//! Agents that die, babble or refuse, over a scripted connection.

use std::collections::VecDeque;
use std::io;

use atb_measurements::{Protocol, Record, Response, Role, Subject};
use atb_profiler::{Agent, Item, ProfileError};
use atb_targets::Connection;
use miette::Diagnostic;

/// Answers every request with the next line of a script, then ends.
struct Script(VecDeque<String>);

impl Connection for Script {
    fn send(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        Ok(self.0.pop_front())
    }

    fn end(&mut self) -> String {
        "exit status: 137; out of memory".to_owned()
    }
}

fn item() -> Item {
    let arch = "2-128-512-2-128".parse().expect("parses");
    Item { subject: Subject::architecture(arch), role: Role::Sample }
}

fn line(response: &Response) -> String {
    serde_json::to_string(response).expect("serialises")
}

fn ready() -> String {
    line(&Response::Ready { device: Box::default(), agent: Box::default() })
}

fn help(error: &ProfileError) -> String {
    error.help().expect("a remedy").to_string()
}

fn asked(answers: &[String]) -> Result<Record, ProfileError> {
    let script = Script(answers.iter().cloned().collect());
    let mut agent = Agent::over(Box::new(script), "pi", &Protocol::default())?;
    agent.measure(&item())
}

#[test]
fn a_record_comes_through_whole() {
    let record = Record {
        samples_us: vec![1234.5, 0.1 + 0.2],
        reference_us: vec![617.25, 1e-3],
        ..Record::new(item().subject, Role::Sample)
    };
    let answer = line(&Response::Measured { record: Box::new(record.clone()) });
    assert_eq!(asked(&[ready(), answer]).expect("measured"), record);
}

#[test]
fn a_death_says_when_and_how() {
    let error = asked(&[ready()]).expect_err("dead");
    assert_eq!(
        error.to_string(),
        "the agent on `pi` ended while it was to measure 2-128-512-2-128 (exit status: 137; out \
         of memory)"
    );
    assert_eq!(help(&error), "run the same command again, what was measured is kept");
}

#[test]
fn anything_that_is_no_response_is_a_failure() {
    let error = asked(&["Welcome to Debian GNU/Linux!".to_owned()]).expect_err("chatter");
    assert!(error.to_string().contains("`Welcome to Debian GNU/Linux!`"), "{error}");
    assert!(help(&error).contains("login shell"), "{error}");
    let error = asked(&[ready(), ready()]).expect_err("the wrong response").to_string();
    assert!(error.contains("not the answer to what was asked"), "{error}");
}

#[test]
fn a_refusal_gives_the_agents_reason() {
    let refusal = line(&Response::Failed {
        subject: "2-128-512-2-128".to_owned(),
        message: "not enough memory".to_owned(),
        hint: Some("close other programs".to_owned()),
    });
    let error = asked(&[ready(), refusal]).expect_err("refused");
    assert_eq!(error.to_string(), "`pi` could not measure 2-128-512-2-128: not enough memory");
    assert_eq!(help(&error), "close other programs");
}

#[test]
fn no_text_of_a_device_steers_the_terminal() {
    let refusal = line(&Response::Failed {
        subject: "\u{1b}[2J".to_owned(),
        message: "no\u{7} memory,\n\u{9b}1m 日本".to_owned(),
        hint: Some("\u{202e}ssalc".to_owned()),
    });
    let error = asked(&[ready(), refusal]).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "`pi` could not measure \\u{1b}[2J: no\\u{7} memory,\n\\u{9b}1m 日本"
    );
    assert_eq!(help(&error), "\\u{202e}ssalc");
    let error = asked(&["\u{1b}]0;title\u{7}".to_owned()]).expect_err("chatter").to_string();
    assert!(error.contains("`\\u{1b}]0;title\\u{7}`"), "{error}");
}
