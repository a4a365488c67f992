//! Whether a file of measurements can be trusted, and why not.

use std::fmt;

use crate::{FileError, Flag, MeasurementFile, Record, Statistics, median};

/// What a file's measurements can be trusted to, with reasons.
///
/// What decides is whether the measurements repeat. Models that were measured more than
/// once, at different times of the run, must agree. Where measurements of devices that got
/// slower or of busy ones are among them and agree, drift, throttling and noise have done no
/// harm to the ratios, and are only noted. Where nothing shows that, many records with such a
/// flag count against the file. What errs in the same way each time, as runs on mixed cores
/// and before the times have settled may, is not excused by repeating. An emulated or a
/// simulated device is never trustworthy, however well its numbers repeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why the measurements are not to be trusted; empty if they are.
    pub objections: Vec<String>,
    /// What lessens their worth without making them wrong.
    pub notes: Vec<String>,
    /// How well they repeat; `None` if nothing was measured twice.
    pub repeats: Option<Repeats>,
}

/// How well measurements of the same models repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeats {
    /// Measurements beyond each model's first.
    pub count: usize,
    /// Mean relative difference between them and the first.
    pub difference: f64,
}

impl Repeats {
    fn of(differences: &[f64]) -> Option<Self> {
        let count = differences.len();
        let difference = differences.iter().sum::<f64>() / count as f64;
        (count > 0).then_some(Self { count, difference })
    }

    fn agree(self) -> bool {
        self.difference <= MAX_RETEST_DIFFERENCE
    }
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, difference } = self;
        write!(f, "{count} measured again differ by {:.1} % on average", 100.0 * difference)
    }
}

/// Largest mean difference of two measurements of one architecture.
const MAX_RETEST_DIFFERENCE: f64 = 0.03;
/// Largest share of records with a flag that says that the record itself is in doubt.
const MAX_DOUBTFUL: f64 = 0.2;
/// Spread of the reference's run time over the file above which milliseconds are noted to
/// be those of no one moment: its ninth decile over its first.
const WIDE_REFERENCE: f64 = 1.3;

impl Verdict {
    /// Whether nothing speaks against the measurements.
    #[must_use]
    pub fn trustworthy(&self) -> bool {
        self.objections.is_empty()
    }

    /// The verdict on a file.
    ///
    /// # Errors
    /// [`FileError::Samples`] if a record's samples are no times.
    pub fn of(file: &MeasurementFile) -> Result<Self, FileError> {
        let mut verdict = Self::default();
        let records = &file.records;
        if records.is_empty() {
            verdict.objections.push("it holds no measurement; run `atb profile`".to_owned());
            return Ok(verdict);
        }
        let statistics =
            records.iter().map(|record| file.statistics(record)).collect::<Result<Vec<_>, _>>()?;
        let device_flags = file.header.device.flags();
        let of_device = |flag: Flag| {
            device_flags.contains(&flag) || records.iter().any(|r| r.flags.contains(&flag))
        };
        for flag in Flag::ALL.into_iter().filter(|flag| flag.means_no_device()) {
            if of_device(flag) {
                verdict.objections.push(flag.text().to_owned());
            }
        }
        let repetitions = repetitions(records, &statistics);
        verdict.retests(&repetitions);
        for flag in Flag::ALL {
            let count = records.iter().filter(|record| record.flags.contains(&flag)).count();
            let many = count as f64 / records.len() as f64 > MAX_DOUBTFUL;
            let repeats = repeats(&repetitions, |repetition| repetition.has(flag));
            let harmless = match flag {
                Flag::Migrated | Flag::ColdStart => false,
                Flag::Throttled | Flag::Drift | Flag::Noisy => repeats.is_some_and(Repeats::agree),
                Flag::Preempted => true,
                Flag::Simulated | Flag::Emulated | Flag::UnlockedClocks | Flag::LowBattery => {
                    continue;
                }
            };
            if count == 0 {
                continue;
            }
            let shown = match repeats {
                Some(repeats) if harmless => format!(", but {repeats}"),
                _ => String::new(),
            };
            let text = format!(
                "{count} of {} records are flagged {flag}{shown}: {}",
                records.len(),
                flag.text()
            );
            match many && !harmless {
                true => verdict.objections.push(text),
                false => verdict.notes.push(text),
            }
        }
        for flag in [Flag::UnlockedClocks, Flag::LowBattery] {
            if of_device(flag) {
                verdict.notes.push(flag.text().to_owned());
            }
        }
        for line in &file.copies {
            verdict.notes.push(format!("line {line} repeats an earlier one and does not count"));
        }
        verdict.reference(records);
        for failure in &file.failures {
            verdict.notes.push(format!("{} is missing: {}", failure.subject, failure.failure));
        }
        Ok(verdict)
    }

    /// Judges what was measured more than once.
    fn retests(&mut self, repetitions: &[Repetition<'_>]) {
        self.repeats = repeats(repetitions, |_| true);
        match self.repeats {
            None => self.notes.push(
                "nothing was measured twice, so nothing shows that the numbers repeat; profile \
                 with --retests"
                    .to_owned(),
            ),
            Some(repeats) if !repeats.agree() => self.objections.push(format!(
                "{repeats}, more than {:.0} %; let the device rest, stop other work on it, and \
                 profile again",
                100.0 * MAX_RETEST_DIFFERENCE
            )),
            Some(_) => {}
        }
    }

    /// Notes a device whose speed changed over the file.
    fn reference(&mut self, records: &[Record]) {
        let medians: Vec<f64> =
            records.iter().filter_map(|record| median(&record.reference_us)).collect();
        let decile = |p| crate::percentile(&medians, p).unwrap_or(f64::NAN);
        let spread = decile(90.0) / decile(10.0);
        if spread > WIDE_REFERENCE {
            self.notes.push(format!(
                "the device's speed changed by {:.0} % over the run, so milliseconds are those of \
                 its typical speed only; ratios hold",
                100.0 * (spread - 1.0)
            ));
        }
    }
}

/// A measurement of something that was measured before.
struct Repetition<'a> {
    first: &'a Record,
    again: &'a Record,
    /// Relative difference between the two.
    difference: f64,
}

impl Repetition<'_> {
    /// Whether it shows what `flag` does to the numbers.
    fn has(&self, flag: Flag) -> bool {
        [self.first, self.again].iter().any(|record| record.flags.contains(&flag))
    }
}

fn repetitions<'a>(records: &'a [Record], statistics: &[Statistics]) -> Vec<Repetition<'a>> {
    let mut repetitions = Vec::new();
    for (index, (again, second)) in records.iter().zip(statistics).enumerate() {
        let before = records.iter().zip(statistics).take(index);
        if let Some((first, one)) =
            before.into_iter().find(|(record, _)| record.subject == again.subject)
        {
            let difference = (second.ratio / one.ratio - 1.0).abs();
            repetitions.push(Repetition { first, again, difference });
        }
    }
    repetitions
}

/// How well those of `repetitions` that are `relevant` agree.
fn repeats(
    repetitions: &[Repetition<'_>],
    relevant: impl Fn(&Repetition<'_>) -> bool,
) -> Option<Repeats> {
    let relevant = repetitions.iter().filter(|repetition| relevant(repetition));
    Repeats::of(&relevant.map(|repetition| repetition.difference).collect::<Vec<_>>())
}

impl fmt::Display for Verdict {
    /// One line of verdict, one for each objection or, where there is none, each note.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reasons) = match self.trustworthy() {
            true => ("trustworthy", &self.notes),
            false => ("not trustworthy", &self.objections),
        };
        f.write_str(word)?;
        if let (true, Some(repeats)) = (self.trustworthy(), self.repeats) {
            write!(f, ": {repeats}")?;
        }
        for reason in reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Battery, DeviceContext, Header, MeasurementWriter, Protocol, Role, SCHEMA, Subject,
    };

    /// A verdict on ten samples and, of the first ones, retests that differ by `retests`.
    fn verdict(
        device: DeviceContext,
        retests: &[f64],
        change: impl Fn(usize, &mut Record),
    ) -> Verdict {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        let header = Header {
            schema: SCHEMA,
            target: "made up".to_owned(),
            protocol: Protocol::default(),
            device,
            agent: crate::AgentContext::default(),
        };
        let (mut writer, _) = MeasurementWriter::open(&path, &header).expect("begins");
        let record = |index: usize, role, factor: f64| {
            let arch = format!("{}-128-512-2-128", index + 1).parse().expect("parses");
            let mut record = Record {
                samples_us: vec![1000.0 * factor; 5],
                reference_us: vec![500.0; 5],
                ..Record::new(Subject::architecture(arch), role)
            };
            change(index, &mut record);
            record
        };
        for index in 0..10 {
            writer.append(&record(index, Role::Sample, 1.0)).expect("appends");
        }
        for (index, difference) in retests.iter().enumerate() {
            writer.append(&record(index, Role::Retest, 1.0 + difference)).expect("appends");
        }
        Verdict::of(&MeasurementFile::read(&path).expect("reads")).expect("has samples")
    }

    fn flagged(flag: Flag, records: usize) -> impl Fn(usize, &mut Record) {
        move |index, record| record.flags.extend((index < records).then_some(flag))
    }

    #[test]
    fn numbers_that_repeat_are_trusted_on_a_device_that_shows_no_clock() {
        let server = DeviceContext { virtualised: true, ..DeviceContext::default() };
        assert_eq!(
            verdict(server, &[0.01, -0.02], |_, _| {}).to_string(),
            "trustworthy: 2 measured again differ by 1.5 % on average"
        );
    }

    #[test]
    fn numbers_that_do_not_repeat_are_not() {
        assert_eq!(
            verdict(DeviceContext::default(), &[0.05, -0.05], |_, _| {}).to_string(),
            "not trustworthy\n  2 measured again differ by 5.0 % on average, more than 3 %; let the device rest, stop other work on it, and profile again"
        );
    }

    #[test]
    fn what_repeating_shows_to_be_harmless_is_only_noted() {
        let device = DeviceContext::default;
        for flag in [Flag::Throttled, Flag::Drift, Flag::Noisy] {
            assert!(!verdict(device(), &[], flagged(flag, 5)).trustworthy(), "{flag}");
            let repeated = verdict(device(), &[0.01, 0.014], flagged(flag, 5));
            let text = format!(
                "trustworthy: 2 measured again differ by 1.2 % on average\n  7 of 12 records are \
                 flagged {flag}, but 2 measured again differ by 1.2 % on average: {}",
                flag.text()
            );
            assert_eq!(repeated.to_string(), text);
            // The two that were measured again are none of those with the flag.
            let elsewhere = verdict(device(), &[0.01, 0.014], |index, record| {
                record.flags.extend((index > 4).then_some(flag));
            });
            assert!(!elsewhere.trustworthy(), "{flag}");
            // Of these, one is, and it differs.
            let apart = verdict(device(), &[0.0, 0.04], |index, record| {
                record.flags.extend((index > 0).then_some(flag));
            });
            assert!(!apart.trustworthy(), "{flag}");
            assert!(verdict(device(), &[], flagged(flag, 2)).trustworthy(), "{flag}");
        }
        assert!(verdict(device(), &[], flagged(Flag::Preempted, 10)).trustworthy());
    }

    #[test]
    fn what_may_err_the_same_way_each_time_is_not_excused_by_repeating() {
        for flag in [Flag::Migrated, Flag::ColdStart] {
            let device = DeviceContext::default;
            assert!(!verdict(device(), &[0.01], flagged(flag, 5)).trustworthy(), "{flag}");
            assert!(verdict(device(), &[0.01], flagged(flag, 1)).trustworthy(), "{flag}");
        }
    }

    #[test]
    fn no_device_no_trust() {
        for (device, word) in [
            (DeviceContext { simulated: true, ..DeviceContext::default() }, "cost model"),
            (DeviceContext { emulated: true, ..DeviceContext::default() }, "emulated"),
        ] {
            let verdict = verdict(device, &[0.0], |_, _| {}).to_string();
            assert!(verdict.starts_with("not trustworthy") && verdict.contains(word), "{verdict}");
        }
    }

    #[test]
    fn the_state_of_a_phone_is_noted() {
        let phone = DeviceContext {
            clocks_locked: Some(false),
            battery: Some(Battery { percent: 5, charging: false }),
            ..DeviceContext::default()
        };
        let verdict = verdict(phone, &[0.0], |index, record| {
            // The device runs at half its speed from the sixth record on.
            if index > 4 {
                record.samples_us.iter_mut().for_each(|us| *us *= 2.0);
                record.reference_us.iter_mut().for_each(|us| *us *= 2.0);
            }
        });
        assert!(verdict.trustworthy());
        let notes = verdict.notes.join("\n");
        for word in ["governor", "charger", "changed by 100 %"] {
            assert!(notes.contains(word), "no {word} in {notes}");
        }
    }
}
