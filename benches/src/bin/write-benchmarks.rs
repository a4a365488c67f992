//! Writes `docs/benchmarks.md` and the plots from the data that is kept in `benches/`.

use std::path::PathBuf;

use anyhow::Result;
use atb_benches::benchmarks::{DOCUMENT, document, plots};
use atb_benches::{plot, write_text};
use clap::Parser;

/// Write docs/benchmarks.md and the plots from the kept data.
#[derive(Parser)]
struct Arguments {
    /// Folder of the project
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { root } = Arguments::parse();
    for (path, chart) in plots(&root)? {
        plot::write(&chart, &path)?;
        println!("{}", path.display());
    }
    let path = root.join(DOCUMENT);
    write_text(&path, &document(&root)?)?;
    println!("{}", path.display());
    Ok(())
}
