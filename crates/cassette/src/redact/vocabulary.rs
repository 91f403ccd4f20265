//! Words and fixed texts of the VBC API and of HTTP that a recording keeps.

/// The values of enumerations that the specifications list or that the service sends.
#[rustfmt::skip]
pub(crate) const WORDS: &[&str] = &[
    // Booleans as text.
    "true", "false",
    // Directions and orders.
    "INBOUND", "OUTBOUND", "INTRA_PBX", "Inbound", "Outbound", "Internal", "inbound", "outbound",
    "ASC", "DESC", "asc", "desc", "Asc", "Desc", "start:ASC", "start:DESC", "start:asc",
    "start:desc",
    // States of accounts, users, webhooks and jobs.
    "ACTIVE", "INACTIVE", "PENDING", "DELETED", "ARCHIVED", "PAUSED", "SUSPENDED", "EXPIRED", "OK",
    "complete", "completed", "pending", "in_progress", "processing", "queued", "started",
    "expired",
    // States and results of calls.
    "busy", "failed", "unanswered", "ringing", "on-call", "active", "held", "parked", "ended",
    "INITIALIZING", "RINGING", "HELD", "REMOTE_HELD", "DETACHED", "REJECTED", "CANCELLED",
    "CANCELED", "ANSWERED", "MISSED", "BUSY", "FAILED", "UNANSWERED", "ENDED", "VOICEMAIL",
    "NO_ANSWER", "Answered", "Missed", "Voicemail", "Busy", "Failed", "Unanswered", "No Answer",
    "Blocked",
    // Types.
    "CALL", "SMS", "click2dial", "click2dialme", "odr", "default", "device", "extension", "pstn",
    "feature_code", "Home", "Work", "Mobile", "Fax", "Other", "home", "work", "mobile", "fax",
    "other", "start", "stop", "ccr", "ocr", "HMAC_SHA256", "NONE", "HEADER", "BODY", "USER_UCI",
    "ACCOUNT_UCI", "VBC", "AU", "AA", "AS", "Account User", "Account Administrator",
    "Account Super User", "UX", "startTime",
    "endTime", "id",
    // Places.
    "US", "CA", "GB", "IN", "AU", "America/New York", "America/Chicago", "America/Denver",
    "America/Los Angeles", "America/New_York", "America/Los_Angeles", "America/Phoenix",
    "Europe/London", "Asia/Kolkata", "UTC",
    // Error codes.
    "VALIDATION_ERROR", "BAD_REQUEST", "NOT_FOUND", "UNAUTHORIZED", "FORBIDDEN", "CONFLICT",
    "NO_EXTENSION", "CALL_STATE", "INVALID_STATE", "INVALID_CALL_STATE", "INTERNAL_ERROR",
    "TIMEOUT", "invalid_request", "invalid_client", "invalid_grant", "invalid_scope",
    "invalid_token", "unauthorized_client", "server_error", "insufficient_scope",
    // The kinds of this proxy's own problems.
    "urn:vbc-proxy:cross-site", "urn:vbc-proxy:draining", "urn:vbc-proxy:foreign-authority",
    "urn:vbc-proxy:injected-fault", "urn:vbc-proxy:loop", "urn:vbc-proxy:malformed-request",
    "urn:vbc-proxy:method-not-forwarded", "urn:vbc-proxy:no-usable-token",
    "urn:vbc-proxy:overloaded", "urn:vbc-proxy:request-cut-short",
    "urn:vbc-proxy:too-many-connections", "urn:vbc-proxy:upstream-failed",
];

/// Fixed texts of responses. A `*` stands for a time, a number or words.
pub(crate) const PHRASES: &[&str] = &[
    // The gateway.
    "Invalid Credentials",
    "Invalid Credentials. Make sure you have provided the correct security credentials",
    "Invalid JWT token. Make sure you have provided the correct security credentials",
    "Missing Credentials",
    "Invalid Credentials. Make sure your API invocation call has a header: 'Authorization : Bearer \
     ACCESS_TOKEN' or 'Authorization : Basic ACCESS_TOKEN' or 'ApiKey : API_KEY'",
    "Access Token Expired",
    "Access Token Inactive",
    "Resource forbidden ",
    "User is NOT authorized to access the Resource. API Subscription validation failed.",
    "Not Found",
    "No matching resource found for given API Request",
    "Method Not Allowed",
    "Method not allowed for given API resource",
    "Message throttled out",
    "You have exceeded your quota .You can access API after *",
    "Unclassified Authentication Failure",
    "Error connecting to the back end",
    "Connection timed out",
    "Runtime Error",
    "Status report",
    // Telephony.
    "User is not permitted to make a request against this account",
    "Request body is not a valid JSON object",
    "Invalid request parameters",
    "Call not found",
    "Leg not found",
    "Leg has ended",
    "Leg has not been answered",
    "Device not found",
    "Leg is not recorded",
    "Leg is recorded",
    "Nobody on this leg can record",
    "a transfer's state is active",
    "dtmf must be of 0-9 * # A-D",
    "from is not on this call",
    "from.destination and to.destination are required",
    "from.destination is not a device of this account",
    "to.destination is not a device of this account",
    "from.destination must be a phone number",
    "to.destination must be a phone number",
    "from.destination must be of 0-9 * #",
    "to.destination must be of 0-9 * #",
    "from.type must be one of *",
    "to.type must be one of *",
    "to.destination is required",
    "type must be one of *",
    "one of state, to, dtmf, stream and recording is required",
    "recording must be start or stop",
    "service must be ccr or ocr",
    "state must be active or held",
    "state must be active or parked",
    "state, or from and to, are required",
    "stream must be true or false",
    "stream_url is required",
    // Provisioning, Reports and Call Recording.
    "Your request parameters didn't validate.",
    "is required",
    "must be a number",
    "must be an ISO 8601 date and time",
    "must be greater than or equal to *",
    "must be less than or equal to *",
    "must be of: *",
    "must match the format YYYY-MM-DD HH:mm:ss",
    "Account not found",
    "Location not found",
    "Extension not found",
    "User not found",
    "Recording not found",
    "Job not found",
    "Job not found or not complete",
    "Problem with provided token",
    "missing user data",
    "Missing HMAC token",
    "User is not authorized to search CCR recordings for this account",
    "Failed to search CCR recordings, this account does not have any active CCR account services",
    // The Integration Platform.
    "Failed to get claims for token",
    "Invalid request",
    "Event not found",
    "Webhook not found",
    "The user has no extension to call from",
    "The call is not ringing here",
    "The call is not active",
    "The call is not on hold",
    // Challenges (RFC 9110 §11.6.1).
    "OAuth2 realm=\"WSO2 API Manager\", error=\"invalid_token\", \
     error_description=\"The provided token is invalid\"",
    "Bearer error=\"invalid_token\"",
];

/// The words of header field values, in lower case.
#[rustfmt::skip]
pub(crate) const FIELD_WORDS: &[&str] = &[
    // Media types.
    "*/*", "application/*", "text/*", "audio/*", "image/*", "*", "application/json",
    "application/problem+json", "application/xml", "application/zip", "application/octet-stream",
    "application/x-www-form-urlencoded", "application/xhtml+xml", "application/hal+json",
    "application/signed-exchange", "multipart/form-data", "multipart/mixed", "text/plain",
    "text/html", "text/csv", "text/event-stream", "audio/mpeg", "audio/mp3", "audio/wav",
    "image/webp", "image/avif", "image/apng", "charset",
    "utf-8", "us-ascii", "iso-8859-1", "q", "v", "b3",
    // Codings, ranges and connections.
    "gzip", "x-gzip", "deflate", "br", "zstd", "compress", "identity", "chunked", "trailers",
    "bytes", "none", "close", "keep-alive", "upgrade", "timeout", "max", "100-continue",
    "http/1.1", "1.1", "1.0", "2", "2.0", "vbc-proxy",
    // Caches.
    "no-cache", "no-store", "no-transform", "only-if-cached", "max-age", "max-stale", "min-fresh",
    "s-maxage", "public", "private", "must-revalidate", "proxy-revalidate", "immutable",
    "stale-while-revalidate", "stale-if-error",
    // Methods.
    "get", "head", "post", "put", "delete", "options", "patch",
    // Names of fields.
    "accept", "accept-encoding", "accept-language", "authorization", "content-type", "cookie",
    "origin", "apikey", "access-control-allow-origin", "access-control-allow-methods",
    "access-control-allow-headers", "access-control-expose-headers", "x-requested-with",
    "soapaction", "internal-key", "activityid", "etag", "range", "if-match", "if-none-match",
    "user-agent", "host",
    // Languages.
    "en", "en-us", "en-gb", "de", "fr", "es", "it", "pt", "nl", "ja",
    // The gateway, and browsers' policies.
    "wso2-passthrough-http", "wso2", "nosniff", "sandbox", "deny", "sameorigin", "no-referrer",
    // Errors of RFC 9209 §2.3 that this proxy reports.
    "error", "received-status", "dns_timeout", "dns_error", "destination_not_found",
    "destination_unavailable", "connection_refused", "connection_terminated", "connection_timeout",
    "connection_read_timeout", "connection_write_timeout", "connection_limit_reached",
    "tls_protocol_error", "tls_certificate_error", "tls_alert_received", "http_request_error",
    "http_request_denied", "http_response_incomplete", "http_response_timeout",
    "http_protocol_error", "http_upgrade_failed", "proxy_internal_response",
    "proxy_internal_error", "proxy_configuration_error", "proxy_loop_detected",
];
