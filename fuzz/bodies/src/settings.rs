//! TOML that people write: jobs, trainings, spaces, tasks and devices.

use std::path::Path;

use atb_pipeline::{Config, FinetuneConfig, SpaceChoice, TrainConfig};
use atb_settings::Layers;
use atb_space::{Cost, Sampler, Workload};
use atb_targets::Target;
use atb_tasks::Task;

use crate::scratch::{put, told, with_folder};

/// Architectures that are drawn from a space.
const DRAWN: usize = 3;

/// Any configuration: every kind is tried.
pub fn configurations(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "configuration.toml", data);
        told(Config::read(&path));
        if let Some(layers) = told(Layers::new().file(&path)) {
            told(TrainConfig::read(layers.clone()));
            told(FinetuneConfig::read(&layers));
        }
        if let Some(task) = told(Task::read(&path)) {
            let _ = task.split_names();
            let _ = task.evaluated();
            told(task.split_file(Some(Path::new("/nowhere")), "dev"));
        }
        if let Some(space) = told(SpaceChoice::find(&path.display().to_string())) {
            let _ = space.count_uniform();
            for arch in
                Sampler::new(&space, 1).take(DRAWN).chain(space.enumerate_uniform().take(DRAWN))
            {
                told(space.check(&arch));
                assert_eq!(arch.id().parse().ok(), Some(arch.clone()), "notation is read again");
                let _ = Cost::parameters(&arch, 30_522, 512);
                let _ = Cost::activation_bytes(&arch, Workload::default());
                let _ = Cost::flops(&arch, 1, 128);
            }
        }
    });
}

/// A target file.
pub fn devices(data: &[u8]) {
    with_folder(|folder| {
        let path = put(folder, "device.toml", data);
        if let Some(target) = told(Target::read(&path)) {
            let _ = format!("{target:?}");
        }
    });
}
