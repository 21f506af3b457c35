//! Controllers: pure reconcilers `(cache, key, now) → writes`, and the work queue that feeds them.
