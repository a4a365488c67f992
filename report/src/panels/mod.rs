//! What is asked of a run, the answers, and the plots that show them.

mod device;
mod lengths;
mod predictions;
mod runs;
mod search;
mod training;
mod variants;

use crate::document::Panel;
use crate::figures::Figures;

/// The questions that the figures of a run answer.
pub(crate) fn panels(figures: &Figures) -> Vec<Panel> {
    [
        search::front(figures),
        search::search(figures),
        predictions::predictions(figures),
        predictions::parts(figures),
        runs::runs(figures),
        lengths::lengths(figures),
        variants::variants(figures),
        training::training(figures),
        device::drift(figures),
        device::sensors(figures),
    ]
    .into_iter()
    .flatten()
    .collect()
}
