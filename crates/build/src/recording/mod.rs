//! The network of a build, recorded once and replayed from then on.
//!
//! ```text
//! sandbox: steps ──127.0.0.1──▶ [gateway] ──▶ Proxy ── recorded? ──▶ the store
//!                                               └─ else, while recording ──▶ Upstream ──▶ servers
//! ```
//!
//! The proxy answers from its [`Recording`] alone, also while it makes one: what a step is told is
//! what is kept, never a server's own words. So a build that is replayed gets the very bytes that
//! the recorded one got.
//!
//! [gateway]: crate::sandbox::Gateway

mod authority;
mod exchange;
mod lock;
mod package_url;
mod proxy;
mod respond;
mod restore;
mod steps;
mod tape;
mod upstream;

pub use exchange::{Exchange, Recording};
pub use lock::{Recorded, SourceLock, SourceLockError, lock_path};
pub use package_url::package_of;
pub use proxy::{Proxy, ProxyError};
pub use restore::{RestoreError, restore};
pub use steps::{FOLDER as GUEST_FOLDER, environment};
pub use tape::Miss;
pub use upstream::{InvalidRewrite, RecorderSettings, Rewrite};
