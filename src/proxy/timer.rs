//! The timer that all waits of a connection share.

use std::rc::Rc;

/// A clonable [`vbc_http::LazyTimer`].
pub(super) type LazyTimer = Rc<vbc_http::LazyTimer>;
