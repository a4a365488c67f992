//! `atb devices`: which devices can be reached now, and what they are.

use atb_measurements::CoreCluster;
use atb_profiler::{Inspection, Surveyed, by_address, known_targets, survey};
use atb_targets::Target;
use clap::Args;
use miette::Diagnostic;

use crate::display;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these: built-in names or target files
    targets: Vec<String>,
}

pub(crate) fn execute(arguments: &Arguments) -> miette::Result<()> {
    let targets = match &arguments.targets[..] {
        [] => known_targets()?,
        names => names.iter().map(|name| Target::find(name)).collect::<Result<_, _>>()?,
    };
    let (mut rows, mut unreachable) = (Vec::new(), Vec::new());
    for Surveyed { target, result } in survey(targets) {
        match result {
            Ok(inspection) => rows.push(row(&target, &inspection)),
            Err(error) => unreachable.push((target, error)),
        }
    }
    if !rows.is_empty() {
        let header =
            ["target", "device", "cores", "memory", "system", "governor", "temperature", "remark"];
        display::data(&display::text_table(&header, rows))?;
    }
    for (target, error) in unreachable {
        display::note(&format!("\n{}: {error}", target.name));
        display::hint(error.help());
    }
    if arguments.targets.is_empty() {
        eprintln!(
            "\nThese are looked for by address, as `NAME@ADDRESS`, or through files of your own in \
             {}:",
            atb_targets::user_folder().display()
        );
        for target in by_address()? {
            display::note(&format!("  {:<16} {}", target.name, target.description));
        }
    }
    Ok(())
}

fn row(target: &Target, inspection: &Inspection) -> Vec<String> {
    let device = &inspection.device;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cores = match &device.clusters[..] {
        [] => device.cores.map(|cores| cores.to_string()),
        clusters => Some(clusters.iter().map(cluster).collect::<Vec<_>>().join(" + ")),
    };
    let remark = [
        (device.simulated, "simulated"),
        (device.emulated, "emulated"),
        (device.virtualised, "virtual machine"),
    ];
    let remark = remark.into_iter().find_map(|(holds, text)| holds.then_some(text));
    vec![
        target.name.clone(),
        or_dash(device.board.clone().or_else(|| device.cpu.clone())),
        or_dash(cores),
        or_dash(device.memory_mib.map(|mib| format!("{:.1} GiB", mib as f64 / 1024.0))),
        or_dash(device.os_name.clone().or_else(|| Some(device.os.clone()))),
        or_dash(device.governor.clone()),
        or_dash(device.temperature_c.map(|celsius| format!("{celsius:.0} °C"))),
        remark.unwrap_or_default().to_owned(),
    ]
}

fn cluster(cluster: &CoreCluster) -> String {
    let name = cluster.name.as_deref().unwrap_or("core");
    let frequency = cluster.max_frequency_mhz;
    let frequency = frequency.map_or_else(String::new, |mhz| format!(" {:.1} GHz", mhz / 1e3));
    format!("{} {name}{frequency}", cluster.cores.len())
}
