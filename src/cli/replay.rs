//! `vbc-proxy replay`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::runtime::LocalOptions;

use super::recording::{MatchingArg, describe, refuse};
use super::serve::exit_of_system;
use super::signals::Signals;
use super::simulate::{ALLOW_ANONYMOUS, check_reach};
use super::{Exit, complain, logging, say};
use crate::cassette::{Cassette, Order, Player, Replay as Service};
use crate::config::Log;
use crate::server::bind_advice;

/// Serve recorded answers, without network
///
/// Plays a cassette that `serve --record FILE` has written: a request that is like a recorded one gets the answer of that
/// one. A request without a match gets a 404 in the proxy's own name, with the header `vbc-proxy-replay: no-match` and
/// what was nearest. On SIGTERM or SIGINT it says what was never asked for, and exits with status 1 if a request had no
/// match, else 0. With FILE.key beside the cassette, requests may name the people that were recorded.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The cassette
    #[arg(value_name = "CASSETTE")]
    cassette: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Listen beyond this machine too, for everyone who can reach the address
    #[arg(long)]
    allow_anonymous: bool,
    /// A further name that it is called by, beside addresses, names without a dot, and what the recording's clients called the
    /// proxy; may be given more than once. Requests to other names are refused, so that no web page gets in by one of its own
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// How closely a request must match a record
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t)]
    matching: MatchingArg,
    /// In which order records may be asked for
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    order: OrderArg,
    /// Send the pieces of answers when they were sent, where that was recorded
    #[arg(long)]
    timing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    /// Any; of several that match each once, then the last again
    #[default]
    Any,
    /// As they were recorded
    Recorded,
}

impl Replay {
    pub(crate) fn run(&self) -> Exit {
        if !check_reach(self.listen, "--listen", self.allow_anonymous, ALLOW_ANONYMOUS) {
            return Exit::Usage;
        }
        let _logging = logging::start(&Log::default());
        let cassette = match Cassette::read(&self.cassette) {
            Ok(cassette) => cassette,
            Err(error) => return refuse(&error),
        };
        if cassette.torn > 0 {
            tracing::warn!(bytes = cassette.torn, "the last record was cut short, and is left out");
        }
        if !cassette.has_key() {
            tracing::warn!(
                "the cassette's key is not beside it: people in requests are not recognised by strict matching"
            );
        }
        let order = match self.order {
            OrderArg::Any => Order::Any,
            OrderArg::Recorded => Order::Recorded,
        };
        let player = Player::new(cassette, self.matching.into(), order);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve(player)),
            Err(error) => {
                complain(format_args!("vbc-proxy: no runtime: {error}"));
                Exit::Failed
            }
        }
    }

    async fn serve(&self, player: Player) -> Exit {
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(exit) => return exit,
        };
        let records = player.len();
        let bound = Service::bind(self.listen, player, self.timing, &self.hosts)
            .and_then(|service| Ok((service.address()?, service)));
        let (address, service) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let (listen, advice) = (self.listen, bind_advice(&error, self.listen.port()));
                complain(format_args!("vbc-proxy: cannot listen on {listen} (--listen): {error}{advice}"));
                return exit_of_system(&error);
            }
        };
        if let Err(exit) = say(format_args!("vbc-proxy replay on http://{address} ({records} records)")) {
            return exit;
        }
        let summary = service.run(signals.first_of_two()).await;
        match say(describe(&summary)) {
            Ok(()) if summary.unmatched == 0 => Exit::Done,
            _ => Exit::Failed,
        }
    }
}
