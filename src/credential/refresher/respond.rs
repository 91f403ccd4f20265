//! How the refresher handles each message.
//!
//! If an exchange must wait, the requests and operators that need it all wait for the same
//! exchange. Those that have left by then are skipped.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Need, Refresher};
use crate::credential::bearer::{Replacement, Unavailable};
use crate::credential::message::{Message, NewerRequest, RespondTo};
use crate::oauth::Redeem;

/// The least time between two exchanges that operators request.
const OPERATOR_SPACING: Duration = Duration::from_secs(1);

/// The waiting requests and operators, and the last exchange that an operator requested.
#[derive(Default)]
pub(super) struct WaitingList {
    newer: Vec<NewerRequest>,
    operators: Vec<RespondTo<()>>,
    last_operator_exchange: Option<OperatorExchange>,
}

struct OperatorExchange {
    began: Instant,
    outcome: Result<(), Unavailable>,
}

impl WaitingList {
    fn operators_in(&self, spacing: Duration) -> Duration {
        let next = self.last_operator_exchange.as_ref().map(|last| last.began + spacing);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()))
    }
}

impl<R: Redeem> Refresher<R> {
    pub(super) async fn respond(&mut self, message: Message) {
        match message {
            Message::Usable { respond_to } => {
                let outcome = if self.is_alive() || respond_to.is_closed() {
                    Ok(())
                } else {
                    self.obtain(Need::Token).await
                };
                let _ = respond_to.send(outcome.and_then(|()| self.current()));
            }
            Message::Newer(request) => self.replace(request).await,
            Message::Younger { max_age, respond_to } => {
                let outcome = if self.is_younger(max_age) {
                    Ok(())
                } else {
                    self.obtain(if self.is_alive() { Need::Early } else { Need::Token }).await
                };
                let _ = respond_to.send(outcome.and_then(|()| self.current()));
            }
            Message::Early => self.act_on_schedule().await,
            Message::Refresh { operated, respond_to } => self.refresh_for_operator(operated, respond_to),
            Message::Unlock { respond_to } => drop(respond_to.send(self.unlock().await)),
            Message::Reset(reset) => self.reset(reset).await,
            Message::Code { login, respond_to } => {
                let outcome = self.redeem_code(*login).await;
                self.report();
                let _ = respond_to.send(outcome);
            }
            Message::Confirm { login, respond_to } => {
                let outcome = self.confirm(login).await;
                self.report();
                let _ = respond_to.send(outcome);
            }
        }
    }

    /// Responds without an exchange, because the credential is closed.
    pub(super) fn respond_at_end(&self, message: Message) {
        let ended = || self.shared.shutting_down();
        match message {
            Message::Usable { respond_to } | Message::Younger { respond_to, .. } => {
                let _ = respond_to.send(self.current());
            }
            Message::Newer(request) => {
                let newer = self.current().ok().filter(|bearer| bearer.revision > request.refused);
                let replacement = newer.map(|bearer| Replacement { bearer, fresh: false });
                let _ = request.respond_to.send(replacement.ok_or_else(ended));
            }
            Message::Early | Message::Reset(_) => {}
            Message::Refresh { respond_to, .. } => drop(respond_to.send(Err(ended()))),
            Message::Unlock { respond_to } => drop(respond_to.send(Err(ended()))),
            Message::Code { respond_to, .. } | Message::Confirm { respond_to, .. } => {
                let _ = respond_to.send(Err(ended().into()));
            }
        }
    }

    /// Responds with the current bearer if it is newer than the refused one. Otherwise forces a
    /// refresh, which may have to wait, and responds with the new bearer.
    pub(super) async fn replace(&mut self, request: NewerRequest) {
        if self.is_newer_than(request.refused) {
            return self.respond_newer(request, Ok(()));
        }
        if request.is_certain {
            self.distrusted = self.distrusted.max(request.refused);
        }
        let allowed = self.may_try(Need::Token).and_then(|()| self.may_replace());
        if let Err(unavailable) = allowed {
            return self.respond_newer(request, Err(unavailable));
        }
        if self.is_alive() && !self.shared.forced_in().is_zero() {
            self.waiting_list.get_or_insert_default().newer.push(request);
            return;
        }
        let outcome = self.force().await;
        self.respond_newer(request, outcome);
    }

    fn respond_newer(&mut self, request: NewerRequest, outcome: Result<(), Unavailable>) {
        if outcome.is_err() && request.is_certain {
            // The distrust is noted before the response, because the next request will be refused
            // too and must find the note.
            self.shared.distrust(request.refused);
            self.report();
        }
        let fresh = self.published_at.is_some_and(|at| at >= request.asked);
        let bearer = outcome.and_then(|()| self.current());
        let _ = request.respond_to.send(bearer.map(|bearer| Replacement { bearer, fresh }));
    }

    /// Checks whether a refresh may put the current token at risk for a 401 that does not name the
    /// token.
    ///
    /// After a lost response the refresh token may be spent. A server that detects its reuse would
    /// revoke an access token that the gateway still accepts. Only a login with a password could
    /// then replace that token.
    fn may_replace(&self) -> Result<(), Unavailable> {
        let is_at_risk = self.stored.record.refresh_pending && self.is_trusted() && self.permit.is_none();
        match self.no_refresh().filter(|_| is_at_risk) {
            Some(reason) => Err(self.unavailable(&reason, None)),
            None => Ok(()),
        }
    }

    /// Makes one forced refresh. Adopting a stored token set does not count as one.
    pub(super) async fn force(&mut self) -> Result<(), Unavailable> {
        let began = Instant::now();
        let exchanges = &self.shared.exchanges;
        let (total, issued, revision) = (exchanges.total(), exchanges.issued(), self.token_revision);
        let outcome = self.obtain(Need::Token).await;
        let exchanges = &self.shared.exchanges;
        let was_adopted = self.token_revision > revision && exchanges.issued() == issued;
        if exchanges.total() > total && !was_adopted {
            self.shared.rejected_prefixes().forced.note(began);
        }
        outcome
    }

    /// Gets a new token set for an operator. An operator's exchange that was under way when this
    /// operator asked also counts.
    pub(super) fn refresh_for_operator(&mut self, operated: u64, respond_to: RespondTo<()>) {
        let is_done = self.shared.operated.load(Ordering::Relaxed) > operated;
        let list = self.waiting_list.get_or_insert_default();
        match &list.last_operator_exchange {
            Some(last) if is_done => drop(respond_to.send(last.outcome.clone())),
            _ => list.operators.push(respond_to),
        }
    }

    pub(super) async fn serve_waiting(&mut self) {
        self.serve_operators().await;
        self.serve_newer().await;
    }

    async fn serve_operators(&mut self) {
        let spacing = self.operator_spacing();
        let Some(list) = &mut self.waiting_list else { return };
        list.operators.retain(|respond_to| !respond_to.is_closed());
        if list.operators.is_empty() || !list.operators_in(spacing).is_zero() {
            return;
        }
        let began = Instant::now();
        self.backoff.reset();
        let outcome = self.obtain(Need::Token).await;
        self.shared.operated.fetch_add(1, Ordering::Relaxed);
        let list = self.waiting_list.get_or_insert_default();
        for respond_to in list.operators.drain(..) {
            let _ = respond_to.send(outcome.clone());
        }
        list.last_operator_exchange = Some(OperatorExchange { began, outcome });
    }

    async fn serve_newer(&mut self) {
        let Some(list) = &mut self.waiting_list else { return };
        list.newer.retain(|request| !request.respond_to.is_closed());
        if list.newer.is_empty() {
            return;
        }
        // Another refresh may already have brought a newer token for some of the requests.
        let (served, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut list.newer)
            .into_iter()
            .partition(|request| self.is_newer_than(request.refused));
        self.respond_all(served, &Ok(()));
        let is_due = !self.is_alive() || self.shared.forced_in().is_zero();
        if rest.is_empty() || !is_due {
            self.waiting_list.get_or_insert_default().newer = rest;
            return;
        }
        let outcome = match self.may_replace() {
            Ok(()) => self.force().await,
            refused => refused,
        };
        self.respond_all(rest, &outcome);
    }

    fn respond_all(&mut self, requests: Vec<NewerRequest>, outcome: &Result<(), Unavailable>) {
        for request in requests {
            self.respond_newer(request, outcome.clone());
        }
    }

    fn is_newer_than(&self, refused: u64) -> bool {
        self.token_revision > refused && self.is_alive()
    }

    /// How long until a waiting request or operator can be served; `Duration::MAX` if none waits.
    pub(super) fn waiting_in(&self) -> Duration {
        let Some(list) = &self.waiting_list else { return Duration::MAX };
        let newer = if list.newer.is_empty() { Duration::MAX } else { self.shared.forced_in() };
        let operators = if list.operators.is_empty() {
            Duration::MAX
        } else {
            list.operators_in(self.operator_spacing())
        };
        newer.min(operators)
    }

    fn operator_spacing(&self) -> Duration {
        OPERATOR_SPACING / self.shared.hurry.max(1)
    }
}
