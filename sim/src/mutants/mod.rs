//! The mutation gate: bugs put into the consensus core and the store one at a time, each of which the core tier must
//! find within its budget of seeds.
//!
//! A mutant is a few exact texts and what replaces them, so that product code has no switches. They are applied to a
//! copy of the pure rooms and of the core tier in `target/mutants`, a tiny crate that builds in seconds. A test of the
//! normal suite checks that every text is still found exactly once.

mod alone;
mod gate;
mod raft;
mod store;

pub use gate::{MutantsArgs, run};

/// A file below the repository, the text in it, what replaces it.
pub type Patch = (&'static str, &'static str, &'static str);

/// A seeded bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// Within so many seeds, from 1 on, it must be found.
    pub budget: u64,
    /// How it is made.
    pub patches: &'static [Patch],
}

/// All mutants.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    raft::MUTANTS.iter().chain(store::MUTANTS)
}

impl Mutant {
    /// A file with the mutant's patches to it; an error if a text is not found exactly once.
    pub fn patched(&self, file: &str, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for (_, find, replace) in self.patches.iter().filter(|patch| patch.0 == file) {
            let found = text.matches(find).count();
            if found != 1 {
                let name = self.name;
                return Err(format!(
                    "{name}: {file} has this {found} times, not once:\n{find}"
                ));
            }
            text = text.replacen(find, replace, 1);
        }
        Ok(text)
    }
}
