//! The foundation of the `vbc-proxy` workspace: clock, secrets, random bytes, trusted files, units.
//!
//! Use it in the other packages of the workspace, and in tests that need a movable clock. It
//! depends on none of them. It has no stable interface for other projects.
//!
//! # Example
//!
//! A secret does not show itself, and a shifted clock does not wait:
//!
//! ```
//! use std::time::Duration;
//!
//! use jiff::SignedDuration;
//! use vbc_base::clock::{Clock, until};
//! use vbc_base::secret::Secret;
//!
//! let password = Secret::new("hunter2");
//! assert_eq!(format!("{password:?}"), "[redacted]");
//! assert_eq!(password.expose(), "hunter2");
//!
//! let clock = Clock::system();
//! let start = clock.now();
//! clock.shift(SignedDuration::from_hours(1));
//! assert!(until(start, clock.now()) >= Duration::from_secs(3600));
//! ```
//!
//! # Modules, in order of use
//!
//! 1. [`clock`]: [`Clock`](clock::Clock), the only source of wall-clock time.
//! 2. [`secret`]: [`Secret`](secret::Secret), a string that is never logged, and fingerprints.
//! 3. [`random`]: random bytes for ids, jitter and secrets.
//! 4. [`trusted`]: reads files only after checking their owner and permissions.
//! 5. [`units`], [`encoding`] and [`lines`]: durations and sizes, file encodings, and positions in
//!    a text.
//!
//! # Features
//!
//! None.
//!
//! # What it does not do
//!
//! It does no network I/O and starts no threads. The checks of [`trusted`] need Linux, and read
//! users and groups from `/etc/passwd` and `/etc/group` only.

pub mod clock;
pub mod encoding;
pub mod lines;
pub mod random;
pub mod secret;
pub mod trusted;
pub mod units;
