//! Connection handlers of the two listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Request;

use crate::control;
use crate::engine::{Arrival, ConnectionNumber, Engine};
use crate::request::{Body, Endpoint};
use crate::response::{ResponseBody, date, empty, json};
use vbc_http::{Abort, Handler, Incoming, RequestRejection};

/// Handles one connection to the API and the identity endpoints.
pub(crate) struct Front {
    engine: Arc<Engine>,
    number: ConnectionNumber,
    requests: AtomicU32,
}

impl Front {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, number: ConnectionNumber::default(), requests: AtomicU32::new(0) }
    }
}

impl Handler for Front {
    type Body = ResponseBody;

    /// The connection adds no `Date`: the simulator sets it from its own clock.
    const DATE: bool = false;

    async fn handle(&self, request: Request<Incoming>) -> Result<http::Response<ResponseBody>, Abort> {
        let nth = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.engine.respond(Arrival::on(&self.number, nth), request).await
    }

    fn reject(&self, rejection: RequestRejection) -> http::Response<ResponseBody> {
        let mut response = empty(match rejection {
            RequestRejection::TargetTooLong => 414,
            RequestRejection::HeadTooLarge => 431,
            RequestRejection::HeadTimeout => 408,
            _ => 400,
        });
        date(&mut response, self.engine.options.clock.now());
        response
    }
}

/// Handles one connection to the control plane.
pub(crate) struct Control {
    pub(crate) engine: Arc<Engine>,
}

impl Handler for Control {
    type Body = ResponseBody;

    async fn handle(&self, request: Request<Incoming>) -> Result<http::Response<ResponseBody>, Abort> {
        let (head, body) = request.into_parts();
        // Passes an identity endpoint to apply its body limit of 1 MiB here too.
        let body = Body::read(body, Some(Endpoint::Token), None).await.ok_or(Abort)?;
        if body.too_long {
            return Ok(json(
                413,
                &serde_json::json!({ "error": "the body is longer than 1 MiB; nothing was changed" }),
            ));
        }
        let response = control::respond(&self.engine, &head, &body.data).await;
        // The request may have moved the clock.
        self.engine.settle();
        Ok(response)
    }

    fn reject(&self, _: RequestRejection) -> http::Response<ResponseBody> {
        empty(400)
    }
}
