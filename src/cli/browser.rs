//! Opens a web browser, where there is one to be opened.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::inherit;

/// Opens `url`, which must hold no secret: other users see it among the arguments. Says whether a browser was started.
///
/// `$BROWSER` comes first; without it, a desktop's own way, so that no text browser takes the terminal.
/// The browser inherits no secret; `secret_variables` are those that the configuration names.
pub(super) fn open(url: &str, secret_variables: &[String]) -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(browsers) = set("BROWSER") {
        let browsers = browsers.to_string_lossy().into_owned();
        return browsers
            .split(':')
            .filter(|one| !one.is_empty())
            .any(|one| start(one.into(), url, secret_variables));
    }
    if cfg!(target_os = "macos") {
        return start("open".into(), url, secret_variables);
    }
    let has_desktop = set("DISPLAY").is_some() || set("WAYLAND_DISPLAY").is_some();
    has_desktop && start("xdg-open".into(), url, secret_variables)
}

fn start(program: OsString, url: &str, secret_variables: &[String]) -> bool {
    let mut command = Command::new(program);
    inherit::without_secrets(&mut command, secret_variables);
    let child = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    // Not waited for: it may be the browser itself. It is left to the system when we end.
    child.is_ok()
}
