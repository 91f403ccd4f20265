//! What the refresher does about each message.

use super::{Need, Refresher};
use crate::credential::bearer::Replacement;
use crate::credential::message::Message;
use crate::oauth::Redeem;

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

    /// Responds without an exchange: the credential is closed.
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
            Message::Early => {}
            Message::Refresh { respond_to, .. } => drop(respond_to.send(Err(ended()))),
            Message::Unlock { respond_to } => drop(respond_to.send(Err(ended()))),
            Message::Code { respond_to, .. } | Message::Confirm { respond_to, .. } => {
                let _ = respond_to.send(Err(ended().into()));
            }
        }
    }
}
