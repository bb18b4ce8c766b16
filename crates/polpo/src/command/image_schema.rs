use image::configuration;

use crate::output::failure::Failure;
use crate::output::print_raw;

pub(crate) fn run() -> Result<(), Failure> {
    print_raw(&configuration::schema())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// docs/src/reference/image.schema.json is the schema. `POLPO_UPDATE=1` writes it anew.
    #[test]
    fn the_reference_has_the_schema() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/src/reference/image.schema.json");
        if std::env::var_os("POLPO_UPDATE").is_some() {
            std::fs::write(&path, configuration::schema()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            configuration::schema()
        );
    }
}
