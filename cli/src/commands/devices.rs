//! `atb devices`: which devices can be reached now, and what they are.

use atb_measurements::CoreCluster;
use atb_profiler::{Surveyed, known_targets, survey};
use atb_targets::{Target, Transport};
use clap::Args;

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
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for surveyed in survey(targets) {
        match row(&surveyed) {
            Ok(row) => rows.push(row),
            Err(reason) => silent.push(format!("{}: {reason}", surveyed.target.name)),
        }
    }
    if !rows.is_empty() {
        let header =
            ["target", "device", "cores", "memory", "system", "governor", "temperature", "remark"];
        display::data(&display::text_table(&header, rows))?;
    }
    for line in silent {
        eprintln!("\n{}", line.replace("; hint: ", "\nhint: "));
    }
    if arguments.targets.is_empty() {
        let boards: Vec<&str> = Target::built_in_names()
            .filter(|name| {
                Target::find(name).is_ok_and(|target| matches!(target.transport, Transport::Ssh(_)))
            })
            .collect();
        eprintln!(
            "\nBoards behind ssh are looked for by address, as `{}@ADDRESS`, or through your own \
             files in {}; there are {}.",
            boards.first().copied().unwrap_or_default(),
            atb_targets::user_folder().display(),
            boards.join(", ")
        );
    }
    Ok(())
}

fn row(surveyed: &Surveyed) -> Result<Vec<String>, String> {
    let inspection = surveyed.result.as_ref().map_err(ToString::to_string)?;
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
    Ok(vec![
        surveyed.target.name.clone(),
        or_dash(device.board.clone().or_else(|| device.cpu.clone())),
        or_dash(cores),
        or_dash(device.memory_mib.map(|mib| format!("{:.1} GiB", mib as f64 / 1024.0))),
        or_dash(device.os_name.clone().or_else(|| Some(device.os.clone()))),
        or_dash(device.governor.clone()),
        or_dash(device.temperature_c.map(|celsius| format!("{celsius:.0} °C"))),
        remark.unwrap_or_default().to_owned(),
    ])
}

fn cluster(cluster: &CoreCluster) -> String {
    let name = cluster.name.as_deref().unwrap_or("core");
    let frequency = cluster.max_frequency_mhz;
    let frequency = frequency.map_or_else(String::new, |mhz| format!(" {:.1} GHz", mhz / 1e3));
    format!("{} {name}{frequency}", cluster.cores.len())
}
