//! Re-exports private modules for the tests, benchmarks and fuzz targets of this repository. Not
//! part of the public interface: it may change at any time.

pub mod admin {
    pub use crate::admin::*;
}

pub mod credential {
    pub use crate::credential::*;
}

pub mod doctor {
    pub use crate::doctor::*;
}

pub mod memory {
    pub use crate::memory::*;
}

pub mod metrics {
    pub use crate::metrics::*;
}

pub mod oauth {
    pub use crate::oauth::*;
}

pub mod proxy {
    pub use crate::proxy::*;
}

pub mod tls {
    pub use crate::tls::*;
}
