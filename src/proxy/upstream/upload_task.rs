//! Uploads that continue after the head of their response.

use std::future::Future;

use tokio::task::{AbortHandle, spawn_local};

/// An upload that continues after the head of its response. Dropping this aborts it.
pub(super) struct UploadTask(AbortHandle);

impl UploadTask {
    pub(super) fn spawn(upload: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(upload).abort_handle())
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
