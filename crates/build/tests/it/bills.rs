//! Bills of materials in the form of CycloneDX, by the standard's own schema.

use std::fs;
use std::path::Path;

use base::{Arch, Digest};
use testkit::Program;

use crate::recipe::Workshop;

#[test]
fn bills_are_valid_and_name_the_source() {
    let workshop = Workshop::new();
    let recipe = workshop.recipe("");
    workshop
        .build_with(&recipe, |options| options.cyclonedx = true)
        .unwrap();
    let out = workshop.path("out").join(Arch::host().apk());
    let bills = ["hello", "hello-doc"].map(|name| out.join(format!("{name}-1.0-r2.apk.cdx.json")));
    let bill: serde_json::Value = serde_json::from_slice(&fs::read(&bills[0]).unwrap()).unwrap();
    let component = &bill["metadata"]["component"];
    let digest = Digest::of(&fs::read(out.join("hello-1.0-r2.apk")).unwrap());
    assert_eq!(component["hashes"][0]["content"], digest.hex());
    let ancestors = component["pedigree"]["ancestors"].as_array().unwrap();
    let source = workshop.source.hex();
    assert!(
        ancestors
            .iter()
            .any(|one| one["hashes"][0]["content"] == source.as_str()),
        "{bill:#}"
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/validate_bills.py");
    let said = Program::tool("python")
        .arg("-B")
        .arg(script)
        .args(&bills)
        .run()
        .success();
    assert_eq!(said.stdout, "2\n");
}
