//! The proxy under load: large bodies on every transport, clients that are slow on purpose, streams
//! of events. `cargo bench --bench endurance [-- bodies|slow|events]` runs all of them or one. All
//! take about six minutes.
//!
//! The bench needs about 15,000 file descriptors (`ulimit -n`). Times depend on the machine; only
//! compare times of one run. The bench fails if a body arrives changed, if a connection outlives
//! its deadline, or if the upstream notices a disconnect late.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bodies;
mod client;
mod events;
mod proxy;
mod slow;
mod upstream;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("events") {
            events::run().await;
        }
        if wanted("bodies") {
            bodies::run().await;
        }
        if wanted("slow") {
            slow::run().await;
        }
    });
}
