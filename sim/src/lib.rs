//! Kagero in turmoil: the shipped composition root under a simulated network, clock and container runtime.
