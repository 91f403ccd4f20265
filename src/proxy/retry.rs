//! After a 401: judge it, get a newer bearer where that may help, and learn from what becomes of the second sending.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::Proxy;
use super::body::{AnswerBody, Judged, RequestBody};
use super::error::Error;
use super::upstream::{Head, UpstreamBody};
use super::verdict::{self, Verdict};
use crate::credential::Bearer;
use crate::credential::refusals::{self, Decision, Kind};
use crate::http1::KeptBytes;
use crate::problem::{self, Param};

/// How much of a 401's body is looked at to judge it.
const JUDGED_BYTES: usize = 16 * 1024;

/// How soon after a token was minted a 401 for it says that a fresh token does not help.
const EVIDENCE: Duration = Duration::from_secs(5);

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Proxy {
    /// What to do about a 401: a newer bearer to try, or nothing.
    pub(super) async fn replacement(
        &self,
        refused: &Refused,
        head: &Head,
        body: &RequestBody,
    ) -> Result<Next<'_>, Error> {
        let bearer = &head.bearer;
        let kind = match refused.verdict {
            Verdict::Curable(kind) => kind,
            Verdict::Incurable(why) => return Ok(self.passed_on(refused.verdict, why)),
        };
        let attempt = |bearer, trial| {
            Next::Replay(Attempt { proxy: self, first: refused.verdict, kind, bearer, trial })
        };
        let replayable = body.replayable();
        if replayable && let Some(newer) = self.credential.newer_than(bearer) {
            // A late 401: nothing has to be refreshed, so nothing is limited by it, nor learnt.
            return Ok(attempt(newer, None));
        }
        let now = self.credential.clock().now();
        let place = refusals::place(head.uri.path());
        let decision = self.credential.refusals().decide(place, bearer.revision, kind, now);
        if let Decision::PassOn(why) = decision {
            return Ok(self.passed_on(refused.verdict, why));
        }
        if !replayable {
            // Too late for this request, in time for the next.
            let (credential, old) = (self.credential.clone(), bearer.clone());
            tokio::task::spawn_local(async move { credential.replace(&old, kind).await });
            self.credential.refusals().unproven(place, kind);
            return Ok(self.passed_on(refused.verdict, body.lost().why()));
        }
        let mut trial =
            Trial { proxy: self, place: place.to_owned(), kind, open: true, minted: Instant::now() };
        match self.credential.replace(bearer, kind).await {
            Ok(replacement) if replacement.fresh => {
                trial.minted = Instant::now();
                Ok(attempt(replacement.bearer, Some(trial)))
            }
            Ok(replacement) => Ok(attempt(replacement.bearer, None)),
            // The gateway says that it is the token: the 401 is ours to cure, and it cannot be cured now.
            Err(unavailable) if kind == Kind::Token => {
                self.metrics.retries(refused.verdict.label(), "no_token").inc();
                Err(unavailable.into())
            }
            Err(_) => Ok(self.passed_on(refused.verdict, "no newer token could be had")),
        }
    }

    fn passed_on(&self, verdict: Verdict, why: &'static str) -> Next<'_> {
        self.metrics.retries(verdict.label(), "passed_on").inc();
        Next::PassOn(why)
    }
}

/// A 401, judged, with as much of its body as that took.
pub(super) struct Refused {
    answer: Response<UpstreamBody>,
    prefix: KeptBytes,
    verdict: Verdict,
}

impl Refused {
    /// Reads as much of the body as the verdict needs. A body read to its end gives its connection back.
    pub(super) async fn read(mut answer: Response<UpstreamBody>) -> Result<Self, Error> {
        let mut prefix = KeptBytes::new(JUDGED_BYTES);
        while prefix.len() < JUDGED_BYTES {
            let body = answer.body_mut();
            let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else { break };
            if let Ok(data) = frame?.into_data() {
                prefix.push(&data);
            }
        }
        let verdict = verdict::judge(answer.headers(), &prefix.sealed().concat());
        Ok(Self { answer, prefix, verdict })
    }

    /// The 401 as it came.
    pub(super) fn pass_on(self, why: &str) -> Response<AnswerBody> {
        let prefix = self.prefix;
        annotate(self.answer.map(|rest| AnswerBody::Judged(Box::new(Judged { prefix, rest }))), why)
    }
}

/// Says on a 401 that is passed on why it was not cured.
fn annotate(mut answer: Response<AnswerBody>, why: &str) -> Response<AnswerBody> {
    let value = problem::proxy_status(&[("received-status", Param::Number(401))], why);
    answer.headers_mut().append(PROXY_STATUS, value);
    answer
}

/// What comes after a 401.
pub(super) enum Next<'a> {
    Replay(Attempt<'a>),
    PassOn(&'static str),
}

/// The second sending of a request.
pub(super) struct Attempt<'a> {
    proxy: &'a Proxy,
    first: Verdict,
    kind: Kind,
    pub(super) bearer: Bearer,
    /// Where the bearer was minted after the first 401, so that what becomes of it is evidence about the place.
    trial: Option<Trial<'a>>,
}

impl Attempt<'_> {
    /// Whatever comes is the answer.
    pub(super) async fn conclude(
        self,
        answer: Response<UpstreamBody>,
    ) -> Result<Response<AnswerBody>, Error> {
        let credential = &self.proxy.credential;
        let label = self.first.label();
        if answer.status() != StatusCode::UNAUTHORIZED {
            match self.trial {
                Some(trial) => trial.cured(self.bearer.revision),
                None => credential.refusals().helped(self.kind, self.bearer.revision),
            }
            self.proxy.metrics.retries(label, "cured").inc();
            return Ok(answer.map(AnswerBody::Upstream));
        }
        self.proxy.metrics.retries(label, "refused_again").inc();
        let again = Refused::read(answer).await?;
        // A slow answer says little about a token that may have been revoked while it was under way.
        let Some(mut trial) = self.trial.filter(|trial| trial.minted.elapsed() < EVIDENCE) else {
            return Ok(again.pass_on("a newer token was refused too"));
        };
        let second = match again.verdict {
            Verdict::Curable(kind) => kind,
            Verdict::Incurable(_) => Kind::Unclear,
        };
        let now = credential.clock().now();
        trial.open = false;
        credential.refusals().refused(&trial.place, self.bearer.revision, self.kind, second, now);
        Ok(again.pass_on("a fresh token was refused too; 401s on this path pass for a minute"))
    }
}

/// A place on trial in the memory of 401s, which learns how it ended, whatever becomes of the request.
struct Trial<'a> {
    proxy: &'a Proxy,
    place: String,
    kind: Kind,
    open: bool,
    minted: Instant,
}

impl Trial<'_> {
    fn cured(mut self, revision: u64) {
        self.open = false;
        self.proxy.credential.refusals().cured(&self.place, self.kind, revision);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.open {
            self.proxy.credential.refusals().abandoned(&self.place, self.kind);
        }
    }
}
