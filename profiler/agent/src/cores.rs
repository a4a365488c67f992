//! The logical cores that the agent runs on.

use crate::machine::Refusal;

/// The cores that the agent may use: at first those that it was started with, then those
/// that it is pinned to.
pub(crate) struct Affinity {
    given: Vec<usize>,
    pinned: Vec<usize>,
}

impl Affinity {
    /// The cores that the system has given to the agent.
    pub(crate) fn current() -> Self {
        Self { given: system::affinity(), pinned: Vec::new() }
    }

    /// The cores that the agent may use now.
    pub(crate) fn cores(&self) -> &[usize] {
        if self.pinned.is_empty() { &self.given } else { &self.pinned }
    }

    /// Pins the calling thread, and those that it starts from now on, to `cores`; to all
    /// that it was started with if there are none.
    ///
    /// # Errors
    /// Which core is not to be had, or that there are fewer cores than threads.
    pub(crate) fn pin(&mut self, cores: &[usize], threads: usize) -> Result<(), Refusal> {
        if cores.is_empty() && self.pinned.is_empty() {
            return Ok(());
        }
        let wanted = if cores.is_empty() { &self.given } else { cores };
        if let Some(missing) = wanted.iter().find(|core| !self.given.contains(core)) {
            let given = listed(&self.given);
            return Err(Refusal::new(
                format!("core {missing} is not available to the agent, which may use {given}"),
                "change `cores` of the target",
            ));
        }
        if !cores.is_empty() && threads > cores.len() {
            return Err(Refusal::new(
                format!(
                    "{threads} threads on {} pinned cores would wait for each other",
                    cores.len()
                ),
                "change `cores` or `threads` of the target",
            ));
        }
        system::pin(wanted)?;
        // The system leaves out what it does not have without a word.
        let mut found = system::affinity();
        let mut expected = wanted.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        expected.dedup();
        if found != expected {
            let (expected, found) = (listed(&expected), listed(&found));
            return Err(Refusal::new(
                format!("the agent was to be pinned to the cores {expected} and got {found}"),
                "one of them may be switched off",
            ));
        }
        self.pinned = cores.to_vec();
        Ok(())
    }
}

/// The core that the calling thread runs on, where the system tells.
pub(crate) fn current() -> Option<usize> {
    system::current()
}

fn listed(cores: &[usize]) -> String {
    match cores {
        [] => "none that the system tells of".to_owned(),
        _ => cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    use nix::unistd::Pid;

    pub(super) fn affinity() -> Vec<usize> {
        let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
        (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
    }

    pub(super) fn pin(cores: &[usize]) -> Result<(), String> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core).map_err(|error| format!("core {core}: {error}"))?;
        }
        sched_setaffinity(Pid::from_raw(0), &set)
            .map_err(|error| format!("the agent could not be pinned: {error}"))
    }

    pub(super) fn current() -> Option<usize> {
        sched_getcpu().ok()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    pub(super) fn affinity() -> Vec<usize> {
        Vec::new()
    }

    use crate::machine::Refusal;

    pub(super) fn pin(_: &[usize]) -> Result<(), Refusal> {
        let message = "this system cannot pin programs to cores";
        Err(Refusal::new(message, "remove `cores` from the target"))
    }

    pub(super) fn current() -> Option<usize> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_pinned_and_comes_back() {
        let mut affinity = Affinity::current();
        let given = affinity.cores().to_vec();
        let last = *given.last().expect("a core");
        affinity.pin(&[last], 1).expect("pins");
        assert_eq!(affinity.cores(), [last]);
        for _ in 0..100 {
            std::thread::yield_now();
            assert_eq!(current(), Some(last));
        }
        affinity.pin(&[], 1).expect("gives all back");
        assert_eq!(system::affinity(), given);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let mut affinity = Affinity { given: vec![0, 1], pinned: Vec::new() };
        let error = affinity.pin(&[1, 7], 1).expect_err("refused");
        assert_eq!(
            error,
            Refusal::new(
                "core 7 is not available to the agent, which may use 0, 1",
                "change `cores` of the target"
            )
        );
        let error = affinity.pin(&[1], 2).expect_err("refused");
        assert!(error.message.starts_with("2 threads on 1 pinned cores"), "{error:?}");
    }
}
