//! Chance: one seeded generator per node, from the system in production, from the seed in a simulation.

use std::cell::RefCell;
use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A shared source of random numbers. Clones draw from the same stream.
#[derive(Clone, Debug)]
pub struct Entropy(Rc<RefCell<StdRng>>);

impl Entropy {
    /// From the operating system.
    pub fn from_system() -> Self {
        Self(Rc::new(RefCell::new(StdRng::from_os_rng())))
    }

    /// The same stream for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(StdRng::seed_from_u64(seed))))
    }

    /// An independent generator, itself drawn from this one, for a machine that wants its own.
    pub fn fork(&self) -> StdRng {
        StdRng::from_rng(&mut *self.0.borrow_mut())
    }
}

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        self.0.borrow_mut().next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    fn fill_bytes(&mut self, destination: &mut [u8]) {
        self.0.borrow_mut().fill_bytes(destination);
    }
}
