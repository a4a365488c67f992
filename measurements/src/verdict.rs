//! Whether a file of measurements can be trusted, and why not.

use std::fmt;

use crate::{FileError, Flag, MeasurementFile, Record, Role, Statistics, median};

/// What a file's measurements can be trusted to, with reasons.
///
/// What decides is whether the measurements repeat. Architectures that were measured twice,
/// at different times of the run, must agree; where they do, clocks that are not locked,
/// other programs and a device that got slower have done no harm to the ratios, and are
/// only noted. Where nothing was measured twice, nothing shows that, and throttled or
/// drifting records count against the file. An emulated or a simulated device is never
/// trustworthy, however well its numbers repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the measurements are not to be trusted; empty if they are.
    pub objections: Vec<String>,
    /// What lessens their worth without making them wrong.
    pub notes: Vec<String>,
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
        let repeats = verdict.retests(records, &statistics);
        let share = |flag: Flag| {
            let with = records.iter().filter(|record| record.flags.contains(&flag)).count();
            (with, with as f64 / records.len() as f64)
        };
        let count_text = |flag: Flag, count: usize| {
            format!("{count} of {} records are {flag}: {}", records.len(), flag.text())
        };
        for flag in [Flag::Migrated, Flag::Noisy, Flag::ColdStart] {
            let (count, share) = share(flag);
            if share > MAX_DOUBTFUL {
                verdict.objections.push(count_text(flag, count));
            } else if count > 0 {
                verdict.notes.push(count_text(flag, count));
            }
        }
        for flag in [Flag::Throttled, Flag::Drift, Flag::Preempted] {
            let (count, share) = share(flag);
            if share > MAX_DOUBTFUL && !repeats && flag != Flag::Preempted {
                verdict.objections.push(count_text(flag, count));
            } else if count > 0 {
                verdict.notes.push(count_text(flag, count));
            }
        }
        for flag in [Flag::UnlockedClocks, Flag::LowBattery] {
            if of_device(flag) {
                verdict.notes.push(flag.text().to_owned());
            }
        }
        verdict.reference(records);
        for failure in &file.failures {
            verdict.notes.push(format!("{} is missing: {}", failure.subject, failure.failure));
        }
        Ok(verdict)
    }

    /// Judges the architectures that were measured twice; whether there are any and they
    /// agree.
    fn retests(&mut self, records: &[Record], statistics: &[Statistics]) -> bool {
        let differences: Vec<f64> = records
            .iter()
            .zip(statistics)
            .filter(|(record, _)| record.role == Role::Retest)
            .filter_map(|(retest, second)| {
                let first = records.iter().zip(statistics).find(|(record, _)| {
                    record.role == Role::Sample && record.subject == retest.subject
                });
                first.map(|(_, first)| (second.ratio / first.ratio - 1.0).abs())
            })
            .collect();
        if differences.is_empty() {
            self.notes.push(
                "no architecture was measured twice, so nothing shows that the numbers repeat; \
                 profile with --retests"
                    .to_owned(),
            );
            return false;
        }
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        if mean > MAX_RETEST_DIFFERENCE {
            self.objections.push(format!(
                "{} architectures measured twice differ by {:.1} % on average, more than {:.0} \
                 %; let the device rest, stop other work on it, and profile again",
                differences.len(),
                100.0 * mean,
                100.0 * MAX_RETEST_DIFFERENCE
            ));
        }
        mean <= MAX_RETEST_DIFFERENCE
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

impl fmt::Display for Verdict {
    /// One line of verdict, one for each objection or, where there is none, each note.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reasons) = match self.trustworthy() {
            true => ("trustworthy", &self.notes),
            false => ("not trustworthy", &self.objections),
        };
        f.write_str(word)?;
        for reason in reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Battery, DeviceContext, Header, MeasurementWriter, Protocol, SCHEMA, Subject};

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
        assert_eq!(verdict(server, &[0.01, -0.02], |_, _| {}).to_string(), "trustworthy");
    }

    #[test]
    fn numbers_that_do_not_repeat_are_not() {
        assert_eq!(
            verdict(DeviceContext::default(), &[0.05, -0.05], |_, _| {}).to_string(),
            "not trustworthy\n  2 architectures measured twice differ by 5.0 % on average, more \
             than 3 %; let the device rest, stop other work on it, and profile again"
        );
    }

    #[test]
    fn throttling_is_held_against_numbers_only_where_nothing_shows_that_they_repeat() {
        let throttled = || flagged(Flag::Throttled, 5);
        let device = DeviceContext::default;
        assert!(!verdict(device(), &[], throttled()).trustworthy());
        let repeated = verdict(device(), &[0.01], throttled());
        assert!(repeated.trustworthy());
        assert!(repeated.notes[0].starts_with("6 of 11 records are throttled: "), "{repeated}");
        assert!(verdict(device(), &[], flagged(Flag::Preempted, 10)).trustworthy());
        assert!(!verdict(device(), &[0.01], flagged(Flag::Noisy, 5)).trustworthy());
        assert!(verdict(device(), &[0.01], flagged(Flag::Noisy, 1)).trustworthy());
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
