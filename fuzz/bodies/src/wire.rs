//! The lines between host and agent, each side lied to by the other.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atb_agent::{SimulatedMachine, serve};
use atb_measurements::{MeasurementFile, Protocol, Role, Simulation, Subject};
use atb_profiler::{Item, Link, Plan, Silent, profile_over};
use atb_settings::{has_control_characters, visible};
use atb_targets::Connection;

use crate::scratch::{told, with_folder};

/// What an agent reads. It is of a simulated device, which waits for nothing.
pub fn requests(data: &[u8]) {
    let Ok(mut machine) = SimulatedMachine::new(Simulation::default()) else { return };
    told(serve(data, io::sink(), &mut machine));
}

/// Lines that are left of an input.
type Lines = Arc<Mutex<Vec<Vec<u8>>>>;

struct Liar(Lines);

impl Connection for Liar {
    fn send(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Option<String>> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(line) = line else { return Ok(None) };
        match String::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    fn end(&mut self) -> String {
        "signal: 9".to_owned()
    }
}

/// What a device answers to a profile. Whatever it says, the measurement file stays readable, holds
/// only what was asked for, and no text that is printed steers a terminal.
pub fn answers(data: &[u8]) {
    let mut lines: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.reverse();
    let lines = Arc::new(Mutex::new(lines));
    let connect = || Ok(Box::new(Liar(Arc::clone(&lines))) as Box<dyn Connection>);
    let link = Link {
        target: "liar".to_owned(),
        connect: Box::new(connect),
        attempts: 1,
        pause: Duration::ZERO,
        onnx_runtime: None,
    };
    let items: Vec<Item> = ["1-64-128-2-64", "2-64-128-2-64"]
        .iter()
        .filter_map(|id| Some(Subject::architecture(id.parse().ok()?)))
        .flat_map(|subject| {
            [Role::Sample, Role::Retest].map(|role| Item { subject: subject.clone(), role })
        })
        .collect();
    let plan = Plan::of(items);
    with_folder(|folder| {
        let path = folder.join("m.jsonl");
        let protocol = Protocol::default();
        if let Err(error) = profile_over(&link, &protocol, &plan, &path, &mut Silent) {
            let text = error.to_string();
            assert_eq!(visible(&text), text);
        }
        if !path.exists() {
            return;
        }
        let file = told(MeasurementFile::read(&path));
        let Some(file) = file else { panic!("the measurement file is damaged") };
        for record in &file.records {
            let item = Item { subject: record.subject.clone(), role: record.role };
            assert!(plan.items().contains(&item), "nobody asked for {item:?}");
        }
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        assert!(text.lines().all(|line| !has_control_characters(line)), "{text}");
    });
}
