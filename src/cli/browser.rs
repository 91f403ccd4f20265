//! Opens a web browser.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::inherit;

/// Opens `url` and returns whether a browser was started.
///
/// The URL must hold no secret: other users see it among the arguments. `$BROWSER` comes first.
/// Without it the desktop's own command is used, so that no text browser takes the terminal.
/// The browser inherits no secret; `secret_variables` are those that the configuration names.
pub(super) fn open(url: &str, secret_variables: &[String]) -> bool {
    if let Some(browsers) = variable("BROWSER") {
        let browsers = browsers.to_string_lossy();
        let mut names = browsers.split(':').filter(|name| !name.is_empty());
        return names.any(|name| start(name, url, secret_variables));
    }
    if cfg!(target_os = "macos") {
        return start("open", url, secret_variables);
    }
    let has_desktop = variable("DISPLAY").or(variable("WAYLAND_DISPLAY")).is_some();
    has_desktop && start("xdg-open", url, secret_variables)
}

/// An environment variable that is not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn start(program: &str, url: &str, secret_variables: &[String]) -> bool {
    let mut command = Command::new(program);
    inherit::without_secrets(&mut command, secret_variables);
    let child = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    // Not waited for: it may be the browser itself. The system adopts it when this process ends.
    child.is_ok()
}
