use build::authoring::schema;

use crate::output::failure::Failure;
use crate::output::print_raw;

pub(crate) fn run() -> Result<(), Failure> {
    print_raw(&schema::text())
}
