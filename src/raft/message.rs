//! What peers say to each other.

use serde::{Deserialize, Serialize};

/// A message's body. (Owned by the raft room; filled in there.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {}
