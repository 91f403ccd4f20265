//! Why a request body cannot be sent again.

/// Why there is no copy of a request body. [`why`](Self::why) is the text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ReplayLoss {
    /// The body is larger than `retry.memory`, and `retry.disk` is off.
    OverMemory,
    /// The body is larger than `retry.disk`.
    OverDisk,
    /// The copies of all requests together would be larger than `retry.disk_total`.
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
                "the request body is over retry.memory and retry.disk is off, so it could not be sent again"
            }
            Self::OverDisk => "the request body is over retry.disk and could not be sent again",
            Self::DiskFull => "retry.disk_total is used up, so the request body could not be sent again",
            Self::DiskFailed => {
                "the request body could not be written to retry.disk_path, so it could not be sent again"
            }
            Self::NoDescriptor => {
                "no file descriptor was left for a copy of the request body, so it could not be sent again"
            }
            Self::Done => "the request body could not be sent again",
        }
    }
}
