//! The exit statuses of the program, and the status of each error.

use std::io::{Error, ErrorKind};
use std::process::ExitCode;

use crate::app::StartError;
use crate::store::StoreError;

/// Why the program does not exit with status 0. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command was tried and failed.
    Failed,
    /// The arguments are wrong (`EX_USAGE`).
    Usage,
    /// An address, the token store or a running proxy is not available (`EX_UNAVAILABLE`).
    Unavailable,
    /// The configuration is wrong, or a named file is missing (`EX_CONFIG`).
    Config,
    /// The status of the command that `run` started.
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Config => 78,
            Self::Command(code) => code,
        }
    }

    /// The status for a file that cannot be used. Never [`Exit::Unavailable`]: waiting does not
    /// help if the file is missing or unreadable.
    pub(super) fn of_file(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::Interrupted => Self::Failed,
            _ => Self::Config,
        }
    }

    /// The status for an address or a directory that the system refuses. [`Exit::Unavailable`]
    /// means that the cause is temporary. Every other cause, known or not, needs a change.
    pub(super) fn of_system(error: &Error) -> Self {
        /// Temporary causes that the standard library has no kind for.
        const PASSING: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::EIO];
        match error.kind() {
            ErrorKind::AddrInUse
            | ErrorKind::OutOfMemory
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::ResourceBusy
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => Self::Unavailable,
            _ if error.raw_os_error().is_some_and(|number| PASSING.contains(&number)) => Self::Unavailable,
            _ => Self::Config,
        }
    }

    /// The status for a proxy that cannot start.
    pub(super) fn of_start(error: &StartError) -> Self {
        match error {
            StartError::Store { source: StoreError::InUse { .. } } => Self::Unavailable,
            StartError::Store { source: StoreError::Io { source, .. } }
            | StartError::Bind { source, .. }
            | StartError::BindUnix { source, .. } => Self::of_system(source),
            // Other errors of a store are permanent.
            StartError::Store { .. }
            | StartError::Tls { .. }
            | StartError::ListenTls(_)
            | StartError::TokenClient(_)
            | StartError::NoCredential => Self::Config,
            StartError::Thread(_) => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_system_that_does_not_pass_by_itself_wants_a_change() {
        let exits = |numbers: &[i32]| -> Vec<_> {
            numbers.iter().map(|number| Exit::of_system(&Error::from_raw_os_error(*number))).collect()
        };
        let permanent = [
            libc::EADDRNOTAVAIL,
            libc::EAFNOSUPPORT,
            libc::EPROTONOSUPPORT,
            libc::ELOOP,
            libc::EACCES,
            libc::EPERM,
            libc::ENOENT,
            libc::ENOTDIR,
            libc::EISDIR,
            libc::EROFS,
            libc::ENAMETOOLONG,
            libc::EINVAL,
            libc::ENODEV,
            libc::ENXIO,
            libc::EOPNOTSUPP,
        ];
        assert_eq!(exits(&permanent), [Exit::Config; 15]);
        let passing = [
            libc::EADDRINUSE,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EIO,
        ];
        assert_eq!(exits(&passing), [Exit::Unavailable; 7]);
        // The standard library's own error for a bound unix socket has no number.
        assert_eq!(Exit::of_system(&ErrorKind::AddrInUse.into()), Exit::Unavailable);
        assert_eq!(Exit::of_system(&ErrorKind::AlreadyExists.into()), Exit::Config);
    }
}
