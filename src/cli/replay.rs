//! `vbc-proxy replay`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::runtime::LocalOptions;

use super::exit::Exit;
use super::logging;
use super::output::{fail, print};
use super::recording::{MatchingArg, describe, refuse};
use super::signals::Signals;
use super::simulate::{ALLOW_ANONYMOUS, check_reach};
use crate::config::Log;
use vbc_cassette::{Cassette, Order, Player, Replay as Service};
use vbc_http::bind_advice;

/// Serve recorded responses, without network
///
/// Plays a cassette that `serve --record FILE` has written. A request that matches a record gets
/// the recorded response. Any other request gets a 404 with the header `vbc-proxy-replay: no-match`
/// and the closest record.
///
/// On SIGTERM or SIGINT it lists the records that were not requested. It exits with status 1 if a
/// request had no match, otherwise with 0.
///
/// If FILE.key is next to the cassette, requests with the original names and phone numbers match
/// too.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The cassette
    #[arg(value_name = "CASSETTE")]
    cassette: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Allow an address that other machines can reach; everyone who reaches it can use it
    #[arg(long)]
    allow_anonymous: bool,
    /// Accept this Host name too; can be repeated
    ///
    /// Addresses, names without a dot, and the name that the recorded clients used are always
    /// accepted. Requests with other names are rejected. This protects against web pages that point
    /// their own name at this machine (DNS rebinding).
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// How closely a request must match a record
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t)]
    matching: MatchingArg,
    /// The order in which records may be requested
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    order: OrderArg,
    /// Send the pieces of responses at their recorded times, if the cassette has times
    #[arg(long)]
    timing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    /// Any order; several matching records are used once each, then the last one repeats
    #[default]
    Any,
    /// The recorded order
    Recorded,
}

impl Replay {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        check_reach(self.listen, "--listen", self.allow_anonymous, (Exit::Usage, ALLOW_ANONYMOUS))?;
        let _logging = logging::start(&Log::default());
        let cassette = Cassette::read(&self.cassette).map_err(|error| refuse(&error))?;
        if cassette.torn > 0 {
            tracing::warn!(bytes = cassette.torn, "the last record is incomplete and was skipped");
        }
        if !cassette.has_key() {
            tracing::warn!(
                "no key file next to the cassette: strict matching does not recognise the recorded people; \
                 copy the cassette's .key file there, or use --match lenient"
            );
        }
        let order = match self.order {
            OrderArg::Any => Order::Any,
            OrderArg::Recorded => Order::Recorded,
        };
        let player = Player::new(cassette, self.matching.into(), order);
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|error| fail(Exit::Failed, format_args!("cannot start the runtime: {error}")))?
            .block_on(self.serve(player))
    }

    async fn serve(&self, player: Player) -> Result<(), Exit> {
        let signals = Signals::new()?;
        let records = player.len();
        let bound = Service::bind(self.listen, player, self.timing, &self.hosts)
            .and_then(|service| Ok((service.address()?, service)));
        let (address, service) = bound.map_err(|error| {
            let listen = self.listen;
            let advice = bind_advice(&error, listen.port());
            fail(
                Exit::of_system(&error),
                format_args!("cannot listen on {listen} (--listen): {error}{advice}"),
            )
        })?;
        print(format_args!("vbc-proxy replay on http://{address} ({records} records)"))?;
        let summary = service.run(signals.first_of_two()).await;
        print(describe(&summary))?;
        if summary.unmatched == 0 { Ok(()) } else { Err(Exit::Failed) }
    }
}
