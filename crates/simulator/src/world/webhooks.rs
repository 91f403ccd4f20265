//! Webhooks: subscriptions, queued notices, and statistics of deliveries.

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::random::Random;
use vbc_base::clock::{Timestamp, after};
use vbc_base::secret::{Secret, hex};

/// The lifetime of a registration.
const EXPIRES: Duration = Duration::from_secs(10 * 86_400);
/// How long an expired registration is kept. VBC's own time is unknown.
const PURGED: Duration = Duration::from_secs(20 * 86_400);

/// Where the metadata of a delivery is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// Nowhere.
    None,
    /// In headers.
    Header,
    /// In the body, next to the event.
    Body,
}

impl Metadata {
    pub(crate) fn read(word: &str) -> Option<Self> {
        [Self::None, Self::Header, Self::Body].into_iter().find(|known| known.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Header => "HEADER",
            Self::Body => "BODY",
        }
    }
}

/// A user's subscription: events, URL and signature.
pub(crate) struct Subscription {
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    /// The signing key. It is not used if it is empty or `signed` is false.
    pub(crate) key: Secret,
    pub(crate) signed: bool,
    pub(crate) metadata: Metadata,
}

/// A registered webhook, its queued notices, and its statistics.
pub(crate) struct Webhook {
    pub(crate) id: String,
    /// The account, and the user's position in it.
    pub(crate) owner: (u64, usize),
    user_id: u64,
    subscription: Subscription,
    created: Timestamp,
    renewed: Option<Timestamp>,
    expires: Timestamp,
    purged: Timestamp,
    /// Whether all attempts of a delivery failed. Nothing is delivered until the webhook is
    /// renewed.
    failed: bool,
    attempts: u64,
    successes: u64,
    failures: u64,
    last_success: Option<Timestamp>,
    last_failure: Option<(Timestamp, Reason)>,
    queue: VecDeque<Notice>,
    /// The source of ids for its notices. It is separate, so that other requests do not change
    /// these ids.
    ids: Random,
    /// Whether a task is delivering its notices.
    busy: bool,
}

/// A queued event.
#[derive(Clone)]
pub(crate) struct Notice {
    id: String,
    /// The event as compact JSON with sorted members. This text is signed.
    event: String,
}

/// The request of one delivery attempt.
pub(crate) struct Attempt {
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// Why a delivery failed.
pub(crate) struct Reason {
    /// The reason in the simulator's words.
    pub(crate) words: String,
    /// The status of the response, written as VBC writes it. `None` if there was no response.
    pub(crate) http_code: Option<String>,
    /// The status and the beginning of the body, written as VBC writes them. Without a response,
    /// the same as `words`.
    pub(crate) message: String,
}

/// All registered webhooks.
#[derive(Default)]
pub(crate) struct Webhooks {
    list: Vec<Webhook>,
}

impl Webhooks {
    pub(crate) fn create(
        &mut self,
        owner: (u64, usize),
        user_id: u64,
        subscription: Subscription,
        now: Timestamp,
        random: &mut Random,
    ) -> Value {
        let expires = after(now, EXPIRES);
        let webhook = Webhook {
            id: random.uuid(),
            owner,
            user_id,
            subscription,
            created: now,
            renewed: None,
            expires,
            purged: after(expires, PURGED),
            failed: false,
            attempts: 0,
            successes: 0,
            failures: 0,
            last_success: None,
            last_failure: None,
            queue: VecDeque::new(),
            ids: Random::new(random.next()),
            busy: false,
        };
        let shown = webhook.show(now);
        self.list.push(webhook);
        shown
    }

    /// The webhooks of a user.
    pub(crate) fn of(&mut self, owner: (u64, usize), now: Timestamp) -> impl Iterator<Item = &mut Webhook> {
        self.list.retain(|webhook| webhook.purged > now);
        self.list.iter_mut().filter(move |webhook| webhook.owner == owner)
    }

    /// Removes a webhook, and returns whether there was one.
    pub(crate) fn remove(&mut self, owner: (u64, usize), id: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|webhook| webhook.owner != owner || webhook.id != id);
        self.list.len() < before
    }

    /// The users of an account who are notified of their calls.
    pub(crate) fn watchers(&self, account: u64, now: Timestamp) -> Vec<usize> {
        let living = self.list.iter().filter(|webhook| webhook.owner.0 == account && webhook.delivers(now));
        let mut users: Vec<usize> = living.map(|webhook| webhook.owner.1).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    pub(crate) fn queue(&mut self, owner: (u64, usize), now: Timestamp, event: &Value) {
        for webhook in self.list.iter_mut().filter(|webhook| webhook.owner == owner && webhook.delivers(now))
        {
            let id = webhook.ids.uuid();
            webhook.queue.push_back(Notice { id, event: event.to_string() });
        }
    }

    /// The ids of webhooks that have queued notices but no task that delivers them. Marks these
    /// webhooks as busy.
    pub(crate) fn idle(&mut self) -> Vec<String> {
        let idle = self.list.iter_mut().filter(|webhook| !webhook.busy && !webhook.queue.is_empty());
        idle.map(|webhook| {
            webhook.busy = true;
            webhook.id.clone()
        })
        .collect()
    }

    /// Takes the next notice. `None` if the queue is empty; the webhook is then marked as not busy.
    pub(crate) fn next(&mut self, id: &str) -> Option<Notice> {
        let webhook = self.list.iter_mut().find(|webhook| webhook.id == id)?;
        if webhook.failed {
            webhook.queue.clear();
        }
        let next = webhook.queue.pop_front();
        webhook.busy = next.is_some();
        next
    }

    /// The request of an attempt. `None` if the webhook was removed meanwhile.
    pub(crate) fn attempt(&self, id: &str, notice: &Notice, number: u32) -> Option<Attempt> {
        let webhook = self.list.iter().find(|webhook| webhook.id == id)?;
        let Subscription { url, key, signed, metadata, .. } = &webhook.subscription;
        let signature = (*signed && !key.expose().is_empty()).then(|| sign(key, &notice.event));
        let mut headers = Vec::new();
        let mut body = format!("{{\"event\":{}", notice.event);
        match metadata {
            Metadata::None => {}
            Metadata::Header => {
                headers.extend(signature.map(|signature| ("X-VON-Signature", signature)));
                headers.push(("X-VON-Webhook-Id", id.to_owned()));
                headers.push(("X-VON-Delivery-Id", notice.id.clone()));
                headers.push(("X-VON-Attempt", number.to_string()));
            }
            Metadata::Body => {
                let mut members = json!({ "attempt": number, "deliveryId": notice.id, "webhookId": id });
                if let Some(signature) = signature {
                    members["signature"] = signature.into();
                }
                body.push_str(&format!(",\"metadata\":{members}"));
            }
        }
        body.push('}');
        Some(Attempt { url: url.clone(), headers, body })
    }

    /// Records the outcome of a delivery. The statistics count all its attempts as one attempt.
    pub(crate) fn done(&mut self, id: &str, outcome: Result<(), Reason>, now: Timestamp) {
        let Some(webhook) = self.list.iter_mut().find(|webhook| webhook.id == id) else { return };
        webhook.attempts += 1;
        match outcome {
            Ok(()) => {
                webhook.successes += 1;
                webhook.last_success = Some(now);
            }
            Err(reason) => {
                webhook.failures += 1;
                webhook.failed = true;
                webhook.last_failure = Some((now, reason));
            }
        }
    }
}

/// The signature of an event, in hexadecimal.
fn sign(key: &Secret, event: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    hex(hmac::sign(&key, event.as_bytes()).as_ref())
}

impl Webhook {
    fn delivers(&self, now: Timestamp) -> bool {
        !self.failed && self.expires > now && self.subscription.events.iter().any(|event| event == "CALL")
    }

    /// Extends a webhook for another ten days, and clears its failure.
    pub(crate) fn renew(&mut self, now: Timestamp) {
        self.renewed = Some(now);
        self.expires = after(now, EXPIRES);
        self.purged = after(self.expires, PURGED);
        self.failed = false;
    }

    pub(crate) fn show(&self, now: Timestamp) -> Value {
        let time = |at: Timestamp| Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        let Subscription { url, events, key, signed, metadata } = &self.subscription;
        let mut statistics = json!({
            "totalAttempts": self.attempts, "totalSuccesses": self.successes,
            "totalFailures": self.failures, "failed": self.failed,
        });
        if let Some(at) = self.last_success {
            statistics["lastSuccess"] = time(at);
        }
        if let Some((at, reason)) = &self.last_failure {
            statistics["lastFailure"] = time(*at);
            statistics["lastFailureMessage"] = reason.words.as_str().into();
            statistics["lastErrorMessage"] = reason.message.as_str().into();
            if let Some(code) = &reason.http_code {
                statistics["lastHttpErrorCode"] = code.as_str().into();
            }
        }
        let mut shown = json!({
            "id": self.id, "userId": self.user_id.to_string(), "accountId": self.owner.0.to_string(),
            // The documentation's example shows a failed webhook as active.
            "url": url, "status": if self.expires <= now { "PAUSED" } else { "ACTIVE" },
            "events": events, "signingAlgo": if *signed { "HMAC_SHA256" } else { "NONE" },
            "metadataPolicy": metadata.word(), "createdAt": time(self.created),
            "expireAt": time(self.expires), "purgeAt": time(self.purged), "statistics": statistics,
        });
        if let Some(at) = self.renewed {
            shown["renewedAt"] = time(at);
            // According to the documentation, `renewedBy` too is "set to the current time".
            shown["renewedBy"] = time(at);
        }
        if *signed {
            shown["signingKey"] = key.expose().into();
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_signed_as_rfc_4231_has_it() {
        // The second test case of RFC 4231.
        let signature = sign(&"Jefe".into(), "what do ya want for nothing?");
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
