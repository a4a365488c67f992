//! From a subject to a model that can be timed.

use std::path::Path;

use atb_graph::{Network, RandomWeights, Vocabulary};
use atb_measurements::{Protocol, Subject};
use atb_runtime::{Inputs, Kernel, Session};

use crate::Model;

/// A session with the inputs that it is timed on.
pub(crate) struct SessionModel {
    session: Session,
    inputs: Inputs,
}

impl SessionModel {
    /// Builds (with random weights) or loads what `subject` names.
    ///
    /// # Errors
    /// What the runtime says, or how a model file's shape differs from the protocol's.
    pub(crate) fn load(subject: &Subject, protocol: &Protocol) -> Result<Self, String> {
        let session = match subject {
            Subject::Architecture(arch) => {
                let vocabulary = Vocabulary::small(protocol.vocabulary);
                let network = Network::new(arch, protocol.workload, vocabulary);
                let weights = RandomWeights::new(protocol.seed);
                let skeleton = network.skeleton();
                Session::with_external_data(
                    &arch.id(),
                    &skeleton,
                    protocol.threads,
                    move |offset, length| {
                        network
                            .fill_range(&weights, offset, length)
                            .map_err(|error| error.to_string())
                    },
                )
            }
            Subject::Model(path) => Session::open_threaded(Path::new(path), protocol.threads),
        }
        .map_err(|error| error.to_string())?;
        let (batch, sequence) = (session.batch(), session.sequence());
        let workload = protocol.workload;
        if (batch, sequence) != (workload.batch, workload.sequence) {
            return Err(format!(
                "{subject} takes {batch} sequences of {sequence} tokens, the protocol measures \
                 {} of {}; hint: export it for that shape",
                workload.batch, workload.sequence
            ));
        }
        // Any tokens do: the time does not depend on which.
        let words = session.words().unwrap_or(protocol.vocabulary).max(1) as u64;
        let ids = (0..(batch * sequence) as u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b9).wrapping_add(protocol.seed) % words) as i64)
            .collect();
        Ok(Self { session, inputs: Inputs::of_ids(ids) })
    }

    /// The matrix kernel of the model.
    pub(crate) fn kernel(&self) -> Option<Kernel> {
        self.session.kernel()
    }
}

impl Model for SessionModel {
    fn run(&mut self) -> Result<(), String> {
        let outputs = self.session.run(&self.inputs).map_err(|error| error.to_string())?;
        std::hint::black_box(&outputs);
        Ok(())
    }
}
