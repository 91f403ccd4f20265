//! One test binary: real sockets, the real proxy, the simulator or a raw upstream behind it.

// The ban is for what serves people; a test that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod ages;
mod ambiguity;
mod answers;
mod architecture;
mod bodies;
mod browser;
mod chromium;
mod cli;
mod compare;
mod connections;
mod deadlines;
mod dependencies;
mod doctor;
mod doctor_alone;
mod drain;
mod errors;
mod expect;
mod h2;
mod harness;
mod headers;
mod histories;
mod idle;
mod independent;
mod lab;
mod limits;
mod links;
mod listen_tls;
mod listeners;
mod login;
mod login_cli;
mod login_trouble;
mod lost;
mod many;
mod operate;
mod person;
mod process;
mod restart;
mod retries;
mod retry;
mod seal;
mod secrets;
mod single_flight;
mod smoke;
mod spool;
mod target;
mod testing_page;
mod tls;
mod tokens;
mod tools;
mod upgrade;
mod uploads;
mod upstream_h2;
