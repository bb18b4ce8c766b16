//! What apk's commands work on: a root, its repositories and its keys, as the options name them.

use crate::output::Progress;
use crate::output::failure::Failure;
use crate::settings::Session;

use super::options::Global;

/// One run of an apk command.
pub(crate) struct Context<'p> {
    pub(crate) global: &'p Global,
    pub(crate) session: Session<'p>,
}

impl<'p> Context<'p> {
    pub(crate) fn new(global: &'p Global, progress: &'p Progress) -> Result<Context<'p>, Failure> {
        let session = Session::with(global.store.clone(), !global.network.on(), progress)?;
        Ok(Context { global, session })
    }
}
