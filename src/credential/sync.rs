//! What `cell` is made of. The test that checks it puts loom's in their place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use parking_lot::{Mutex, RwLock};
