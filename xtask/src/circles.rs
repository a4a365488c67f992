//! Which modules of a crate use which, and which of them use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree, Visibility};

/// A module's path below the crate's root; empty for the root itself.
type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct Source {
    /// Paths of what it uses, as segments below the root, tests left out.
    uses: BTreeSet<Vec<String>>,
    /// Names that it gives on: name, path below the root.
    exports: Vec<(String, Vec<String>)>,
}

/// The modules of one crate.
struct Modules {
    sources: BTreeMap<Module, Source>,
}

/// Fails if modules of a crate of the workspace use each other in a circle.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let mut circles = Vec::new();
    for entry in crates(root)? {
        let modules = Modules::read(&entry)?;
        for circle in modules.circles() {
            let name = entry.strip_prefix(root).unwrap_or(&entry);
            circles.push(format!("{}: {}", name.display(), circle.join(" <-> ")));
        }
    }
    if circles.is_empty() {
        return Ok(());
    }
    bail!("modules that use each other in a circle:\n{}", circles.join("\n"));
}

/// The `src` folders of all crates below `root`.
fn crates(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && !matches!(name, "target" | "tests") {
                if name == "src" && folder.join("Cargo.toml").exists() {
                    found.push(path);
                } else {
                    folders.push(path);
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Modules {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut sources = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(&next)? {
                let path = entry?.path();
                if path.is_dir() && path.file_name() != Some("bin".as_ref()) {
                    folders.push(path);
                } else if path.extension() == Some("rs".as_ref()) {
                    let module = module_of(path.strip_prefix(folder)?);
                    let text = std::fs::read_to_string(&path)?;
                    let file =
                        syn::parse_file(&text).with_context(|| path.display().to_string())?;
                    let mut reader = Reader { module: &module, source: Source::default() };
                    reader.visit_file(&file);
                    let source = reader.source;
                    sources.insert(module, source);
                }
            }
        }
        Ok(Self { sources })
    }

    /// The module that defines what lies at `path`, followed through re-exports.
    fn home(&self, path: &[String], depth: usize) -> Option<Module> {
        let mut length = path.len();
        while !self.sources.contains_key(&path[..length]) {
            length = length.checked_sub(1)?;
        }
        let module = &path[..length];
        let exported = path.get(length).and_then(|name| {
            let source = self.sources.get(module)?;
            source.exports.iter().find(|(known, _)| known == name)
        });
        match exported {
            Some((_, target)) if depth > 0 => {
                let rest = path.get(length + 1..).unwrap_or_default();
                let target: Vec<String> = target.iter().chain(rest).cloned().collect();
                self.home(&target, depth - 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// Groups of modules each of which uses all others, directly or through others.
    fn circles(&self) -> Vec<Vec<String>> {
        const RE_EXPORTS: usize = 8;
        let mut reached: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, source) in &self.sources {
            let homes = source.uses.iter().filter_map(|path| self.home(path, RE_EXPORTS));
            reached.insert(module, homes.filter(|home| home != module).collect());
        }
        loop {
            let mut grown = false;
            for module in self.sources.keys() {
                let further: BTreeSet<Module> = reached[module]
                    .iter()
                    .filter_map(|next| reached.get(next))
                    .flatten()
                    .filter(|next| !reached[module].contains(*next))
                    .cloned()
                    .collect();
                grown |= !further.is_empty();
                reached.entry(module).or_default().extend(further);
            }
            if !grown {
                break;
            }
        }
        let mut circles = BTreeSet::new();
        for (module, targets) in &reached {
            if targets.contains(*module) {
                let both = targets
                    .iter()
                    .filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)));
                circles.insert(both.map(name_of).collect::<Vec<_>>());
            }
        }
        circles.into_iter().collect()
    }
}

fn name_of(module: &Module) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Collects what a file uses.
struct Reader<'a> {
    module: &'a Module,
    source: Source,
}

impl Reader<'_> {
    /// `segments` as a path below the root, if they lie in this crate for sure.
    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let first = segments.first()?;
        let (mut path, rest) = match first.as_str() {
            "crate" => (Vec::new(), &segments[1..]),
            "self" => (self.module.clone(), &segments[1..]),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let kept = self.module.len().checked_sub(ups)?;
                (self.module[..kept].to_vec(), &segments[ups..])
            }
            _ => return None,
        };
        path.extend(rest.iter().cloned());
        Some(path)
    }

    fn tree(
        &self,
        tree: &UseTree,
        prefix: &mut Vec<String>,
        found: &mut Vec<(String, Vec<String>)>,
    ) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix, found);
                prefix.pop();
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let mut path = prefix.clone();
                if name != "self" {
                    path.push(name);
                }
                let name = path.last().cloned().unwrap_or_default();
                found.push((name, path));
            }
            UseTree::Rename(rename) => {
                let mut path = prefix.clone();
                path.push(rename.ident.to_string());
                found.push((rename.rename.to_string(), path));
            }
            UseTree::Glob(_) => found.push(("*".to_owned(), prefix.clone())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix, found);
                }
            }
        }
    }
}

fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|flag| flag == "test")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut found = Vec::new();
        self.tree(&item.tree, &mut Vec::new(), &mut found);
        for (name, segments) in found {
            let path = self.absolute(&segments);
            if matches!(item.vis, Visibility::Inherited) {
                self.source.uses.extend(path);
            } else {
                // Relative to this module: its own children are given on most often.
                let path = path.unwrap_or_else(|| [&self.module[..], &segments[..]].concat());
                self.source.exports.push((name, path));
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.source.uses.extend(self.absolute(&segments));
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
            std::fs::write(path, text).expect("writes");
        }
        Modules::read(folder.path()).expect("parses").circles()
    }

    #[test]
    fn a_circle_is_found_through_a_re_export() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A(B);"),
            ("b.rs", "pub struct B; fn f(_: super::a::A) {}"),
        ]);
        assert_eq!(found, [["a", "b"]]);
    }

    #[test]
    fn one_way_and_tests_are_no_circles() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("b/mod.rs", "mod c; use crate::a::A; pub struct B(A, c::C);"),
            ("b/c.rs", "use crate::A; pub struct C(A);"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_longer_circle_names_all_its_modules() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::c::C; pub struct B;"),
            ("c.rs", "use crate::a::A; pub struct C;"),
        ]);
        assert_eq!(found, [["a", "b", "c"]]);
    }
}
