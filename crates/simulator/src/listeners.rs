//! What drives the connections of the service and of the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Request, Response};

use crate::control;
use crate::engine::{Arrival, Core, Line};
use crate::request::{Body, Endpoint};
use crate::response::{Payload, date, empty, json};
use vbc_http::{Abort, Handler, Incoming, Refusal};

/// One connection to the API and the token endpoint.
pub(crate) struct Front {
    core: Arc<Core>,
    line: Line,
    requests: AtomicU32,
}

impl Front {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, line: Line::default(), requests: AtomicU32::new(0) }
    }
}

impl Handler for Front {
    type Body = Payload;

    /// The service's own clock says what day it is.
    const DATE: bool = false;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Payload>, Abort> {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.core.answer(Arrival::on(&self.line, nth), request).await
    }

    fn refuse(&self, refusal: Refusal) -> Response<Payload> {
        let mut answer = empty(match refusal {
            Refusal::TargetTooLong => 414,
            Refusal::HeadTooLarge => 431,
            Refusal::HeadTimeout => 408,
            _ => 400,
        });
        date(&mut answer, self.core.options.clock.now());
        answer
    }
}

/// One connection to the control plane.
pub(crate) struct Control {
    pub(crate) core: Arc<Core>,
}

impl Handler for Control {
    type Body = Payload;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Payload>, Abort> {
        let (head, body) = request.into_parts();
        // The identity server's limit is enough for what the control plane takes.
        let body = Body::read(body, Some(Endpoint::Token), None).await.ok_or(Abort)?;
        if body.too_long {
            return Ok(json(413, &serde_json::json!({ "error": "the body is too long" })));
        }
        let answer = control::answer(&self.core, &head, &body.data).await;
        // The clock may have been moved.
        self.core.settle();
        Ok(answer)
    }

    fn refuse(&self, _: Refusal) -> Response<Payload> {
        empty(400)
    }
}
