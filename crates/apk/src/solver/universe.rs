use super::request::{Request, Solution, Sources};
use super::unsolvable::Unsolvable;

/// All packages that may be chosen, and who provides which name. Built once, asked often.
pub struct Universe<'a> {
    sources: Sources<'a>,
}

impl<'a> Universe<'a> {
    /// Builds the tables.
    pub fn new(sources: Sources<'a>) -> Universe<'a> {
        Universe { sources }
    }

    /// What to install for `request`, in order; or why nothing will do.
    pub fn solve(&self, request: &Request<'_>) -> Result<Solution<'a>, Unsolvable> {
        let _ = (&self.sources, request);
        unimplemented!()
    }
}
