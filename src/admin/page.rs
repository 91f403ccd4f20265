//! The pages of a login. They are plain, without scripts, and repeat nothing from the request.

use std::fmt::Write;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// The headers of every page. A page loads nothing, cannot be framed, and submits forms to this
/// listener only. Browsers never send the address of a page as a referrer, because the address of
/// the callback contains a code.
const HEADERS: [(HeaderName, &str); 8] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1.05rem/1.55 system-ui,sans-serif;max-width:38rem;margin:10vh auto;padding:0 1.25rem;overflow-wrap:anywhere}\
header{font-size:.9rem;opacity:.75}\
h1{font-size:1.6rem;line-height:1.25;margin:.4rem 0 1rem}\
main{border-left:.3rem solid #b3261e;padding-left:1.25rem}\
main[data-outcome=logged_in]{border-color:#1b7f3b}\
main[data-outcome=other_user],main[data-outcome=choose],main[data-outcome=kept]{border-color:#8a6100}\
code{font:.95em ui-monospace,monospace;padding:.1em .3em;border-radius:.25rem;background:#8883}\
button{font:inherit;padding:.5rem 1rem;margin:.25rem .5rem .25rem 0;cursor:pointer}\
li{margin:.35rem 0}";

pub(super) struct Page {
    status: StatusCode,
    outcome: &'static str,
    title: &'static str,
    body: String,
}

impl Page {
    /// A page with this heading. `outcome` is for programs: it becomes the attribute `data-outcome`
    /// of the element `#outcome`.
    pub(super) fn new(status: StatusCode, outcome: &'static str, title: &'static str) -> Self {
        Self { status, outcome, title, body: String::new() }
    }

    /// A paragraph of plain text. Like all methods, it escapes its arguments.
    pub(super) fn text(mut self, text: &str) -> Self {
        let _ = write!(self.body, "<p>{}</p>", escape(text));
        self
    }

    /// A paragraph in which `{}` stands for `what`, shown as code.
    pub(super) fn code(mut self, text: &str, what: &str) -> Self {
        let what = format!("<code>{}</code>", escape(what));
        let _ = write!(self.body, "<p>{}</p>", escape(text).replace("{}", &what));
        self
    }

    /// A paragraph in which `{}` stands for a user's name.
    pub(super) fn user(mut self, text: &str, name: &str) -> Self {
        let name = format!("<strong id=\"user\">{}</strong>", escape(name));
        let _ = write!(self.body, "<p>{}</p>", escape(text).replacen("{}", &name, 1));
        self
    }

    pub(super) fn link(mut self, href: &str, text: &str) -> Self {
        let _ = write!(self.body, "<p><a href=\"{}\">{}</a></p>", escape(href), escape(text));
        self
    }

    pub(super) fn links(mut self, links: impl Iterator<Item = (String, String)>) -> Self {
        self.body.push_str("<ul>");
        for (href, text) in links {
            let _ = write!(self.body, "<li><a href=\"{}\">{}</a></li>", escape(&href), escape(&text));
        }
        self.body.push_str("</ul>");
        self
    }

    /// The question whether another user may replace the current one.
    pub(super) fn question(mut self, action: &str, token: &str, replace: &str, keep: &str) -> Self {
        let _ = write!(
            self.body,
            "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
             <button id=\"keep\" name=\"choice\" value=\"keep\">{}</button>\
             <button id=\"confirm\" name=\"choice\" value=\"replace\">{}</button></form>",
            escape(action),
            escape(token),
            escape(keep),
            escape(replace),
        );
        self
    }

    pub(super) fn response(self) -> Response<Body> {
        let Self { status, outcome, title, body } = self;
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title} – vbc-proxy</title><style>{STYLE}</style></head>\n\
             <body><header>vbc-proxy</header>\n\
             <main id=\"outcome\" data-outcome=\"{outcome}\"><h1>{title}</h1>\n{body}</main></body></html>\n",
            title = escape(title),
        );
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = status;
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Escapes text for HTML elements and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn whatever_a_page_shows_stays_text() {
        let evil = "<script>\"'&{}";
        let page = Page::new(StatusCode::OK, "refused", "No")
            .text(evil)
            .code("run {}", evil)
            .user("It is {}.", evil)
            .link(evil, evil)
            .links([(evil.to_owned(), evil.to_owned())].into_iter())
            .question(evil, evil, evil, evil);
        let body = page.response().into_body().collect().await.unwrap().to_bytes();
        let html = std::str::from_utf8(&body).unwrap();
        let escaped = "&lt;script&gt;&quot;&#39;&amp;";
        assert_eq!(html.matches(escaped).count(), 11, "{html}");
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn a_page_loads_nothing_and_tells_nobody_where_it_was() {
        let headers = Page::new(StatusCode::OK, "refused", "No").response().headers().clone();
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';"));
    }
}
