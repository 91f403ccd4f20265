//! The login page. It has no script, and loads nothing from other servers.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};

use crate::identities::Identity;
use crate::response::{Response, set, text};

const STYLE: &str = "\
    :root{color-scheme:light dark}\
    body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem}\
    main{max-width:26rem;margin:auto}\
    h1{font-size:1.4rem;margin:0 0 1rem}\
    label{display:block;margin:1rem 0 .25rem}\
    input{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;border:1px solid #767676;border-radius:4px}\
    button{font:inherit;padding:.5rem 1.25rem;margin:1.25rem .5rem 0 0;border:1px solid #767676;border-radius:4px}\
    #login{background:#14509f;border-color:#14509f;color:#fff}\
    [role=alert]{border-left:4px solid #b3261e;padding:.5rem .75rem;margin:1rem 0}\
    .hint{margin-top:2rem;font-size:.9rem}";

/// The content of the page.
pub(crate) struct LoginPage<'a> {
    /// The consumer key of the application that requests access.
    pub(crate) application: &'a str,
    /// The user name of the previous attempt.
    pub(crate) user: &'a str,
    /// Why the previous attempt failed.
    pub(crate) message: Option<&'static str>,
}

impl LoginPage<'_> {
    pub(crate) fn response(&self) -> Response {
        let mut response = text(200, "text/html; charset=utf-8", self.html());
        set(&mut response, CACHE_CONTROL, "no-store");
        // The policy has no `form-action`: browsers would also apply it to the redirect to the
        // application, and block that redirect.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        set(&mut response, CONTENT_SECURITY_POLICY, policy);
        response
    }

    fn html(&self) -> String {
        let application = escape(self.application);
        let user = escape(self.user);
        let message = self.message.map(|message| format!("<p role=\"alert\">{message}</p>\n"));
        let message = message.unwrap_or_default();
        let demo = Identity::demo();
        let demo_user = escape(&demo.user);
        let demo_password = escape(demo.password.expose());
        format!(
            "<!doctype html>\n\
             <html lang=\"en\">\n\
             <head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Sign in to the VBC simulator</title>\n\
             <style>{STYLE}</style></head>\n\
             <body><main>\n\
             <h1>Sign in to the VBC simulator</h1>\n\
             <p>The application <strong>{application}</strong> asks to act for you. \
             This is a simulator: your entries are not sent to any real service.</p>\n\
             {message}\
             <form method=\"post\">\n\
             <label for=\"username\">User name</label>\n\
             <input id=\"username\" name=\"username\" value=\"{user}\" autocomplete=\"username\" \
             autocapitalize=\"none\" spellcheck=\"false\" required>\n\
             <label for=\"password\">Password</label>\n\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\n\
             <button id=\"login\">Sign in</button>\n\
             <button name=\"deny\" value=\"1\" formnovalidate>Deny</button>\n\
             </form>\n\
             <p class=\"hint\">Demo user: <code>{demo_user}</code>, password: <code>{demo_password}</code></p>\n\
             </main></body>\n\
             </html>\n"
        )
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_shown_as_text() {
        let page = LoginPage { application: "a&b", user: "\"><script>'", message: Some("No.") };
        let html = page.html();
        assert!(html.contains("<strong>a&amp;b</strong>") && !html.contains("<script"), "{html}");
        assert!(
            html.contains("value=\"&quot;&gt;&lt;script&gt;&#39;\"")
                && html.contains("<p role=\"alert\">No.</p>")
        );
    }
}
