//! The process-wide settings of libgit2: the one file of the crate with unsafe code.
//!
//! They are set once, before the first repository is opened: no configuration of the host is read (catalogue G5),
//! and http and https go through [`Wire`] instead of libgit2's own HTTP.

use std::cell::RefCell;
use std::sync::{Arc, Once};

use git2::transport::Transport;
use git2::{ConfigLevel, opts};

use super::wire::{Subtransport, Wire};

/// Bytes of objects that libgit2 keeps in memory, over all mirrors; its own default is 256 MiB.
const CACHE: isize = 24 << 20;

static ONCE: Once = Once::new();

thread_local! {
    /// The wire of the fetch or push that runs on this thread. libgit2 makes a transport on the thread that
    /// connects, and its factory is told nothing but the URL.
    static CURRENT: RefCell<Option<Arc<Wire>>> = const { RefCell::new(None) };
}

/// Sets libgit2 up. Every path to a repository calls it first; only the first call does anything.
pub(super) fn prepare() {
    ONCE.call_once(|| {
        ignore_the_host();
        keep_memory_small();
        register_transport("https");
        register_transport("http");
        opts::strict_hash_verification(true);
    });
}

#[expect(
    unsafe_code,
    reason = "libgit2's options are process-wide; Once runs this before any repository is opened"
)]
fn ignore_the_host() {
    for level in [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG, ConfigLevel::ProgramData] {
        // SAFETY: no other thread uses libgit2 yet, since every path to it waits for this `Once`.
        unsafe { opts::set_search_path(level, "") }.expect("an empty search path is valid");
    }
    // libgit2 runs no program that a repository names, so whose folder it is does not matter.
    // SAFETY: as above.
    unsafe { opts::set_verify_owner_validation(false) }.expect("the option exists in this libgit2");
}

#[expect(
    unsafe_code,
    reason = "libgit2's options are process-wide; Once runs this before any repository is opened"
)]
fn keep_memory_small() {
    // SAFETY: as in `ignore_the_host`.
    unsafe { opts::set_cache_max_size(CACHE) }.expect("any size is valid");
}

#[expect(
    unsafe_code,
    reason = "git2 leaves the order of registration and use to the caller; Once settles it"
)]
fn register_transport(scheme: &str) {
    let factory = |remote: &git2::Remote<'_>| {
        let wire = CURRENT.with_borrow(Clone::clone);
        let wire = wire.ok_or_else(|| git2::Error::from_str("no network outside a fetch or a push"))?;
        Transport::smart(remote, true, Subtransport(wire))
    };
    // SAFETY: no transport is made before this `Once` is done.
    unsafe { git2::transport::register(scheme, factory) }.expect("a scheme is registered once");
}

/// Runs `work`, whose connections over http and https go through `wire`.
pub(super) fn over<T>(wire: Option<Arc<Wire>>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<Wire>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(wire));
    work()
}

/// What libgit2 says, without its own classes and codes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// The words of an error of libgit2.
pub(super) fn said(error: &git2::Error) -> super::Cause {
    Arc::new(Said(error.message().to_owned()))
}
