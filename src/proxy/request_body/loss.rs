//! Why a request body cannot be sent again.

/// Why there is no copy of a request body. The text is the detail that the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ReplayLoss {
    /// It is larger than `retry.memory`, and `retry.disk` is off.
    OverMemory,
    /// It is larger than `retry.disk`.
    OverDisk,
    /// The bodies of all requests are larger than `retry.disk_total`.
    DiskFull,
    /// The file could not be written, or not fast enough.
    DiskFailed,
    /// There was no file descriptor for the file.
    NoDescriptor,
    /// The copy is not needed any more.
    Done,
}

impl ReplayLoss {
    pub(in crate::proxy) fn why(self) -> &'static str {
        match self {
            Self::OverMemory => {
                "the request body is over retry.memory, retry.disk is off, and so it could not be sent again"
            }
            Self::OverDisk => "the request body is over retry.disk and could not be sent again",
            Self::DiskFull => "retry.disk_total is used up, and so the request body could not be sent again",
            Self::DiskFailed => {
                "the request body could not be kept in retry.disk_path, and so it could not be sent again"
            }
            Self::NoDescriptor => {
                "no file descriptor was left to keep the request body, and so it could not be sent again"
            }
            Self::Done => "the request body could not be sent again",
        }
    }
}
