//! The primitives of `mailbox` and `published`. The loom test replaces them with loom's.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use parking_lot::{Mutex, RwLock};
