//! Measures how fast JSON is scanned for links. `cargo bench --bench links` takes a few seconds.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use vbc_proxy::testing::proxy::links::rewrite_pieces;

const UPSTREAM: &str = "https://api.vonage.com";
const SIZE: usize = 8 << 20;
const ROUNDS: usize = 50;

fn main() {
    let user =
        r#"{"id":12345,"first_name":"Alice","href":"/users/12345","hours":"09:00-17:00","note":"a\\"b\\""},"#;
    let item = r#"{"id":12345,"_links":{"self":{"href":"https://api.vonage.com/t/vbc.prod/users/12345"}}},"#;
    println!("without a link       {:6.2} GB/s", measure(user));
    println!("a link in 100 bytes  {:6.2} GB/s", measure(item));
}

/// Scans pieces of 16 KiB, including the copies into and out of them.
fn measure(item: &str) -> f64 {
    let text = item.repeat(SIZE / item.len());
    let started = Instant::now();
    for _ in 0..ROUNDS {
        let pieces = black_box(text.as_bytes()).chunks(16 * 1024);
        black_box(rewrite_pieces(UPSTREAM, "http://localhost:8080", pieces));
    }
    (text.len() * ROUNDS) as f64 / started.elapsed().as_secs_f64() / 1e9
}
