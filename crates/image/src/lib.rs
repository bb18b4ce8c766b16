//! Images out of packages: the image file, the plan, the layers, the image, what is said about it,
//! and the check that all of it is true.

mod accounts;
mod attach;
mod base_image;
mod build;
mod busybox;
mod certificate;
pub mod configuration;
mod contents;
mod database;
pub mod diff;
mod erofs_layer;
mod filesystem;
mod flatten;
mod generate;
mod go_json;
mod layer;
mod layering;
mod loader_cache;
pub mod lock;
pub mod parity;
mod paths;
mod plan;
pub mod provenance;
mod sbom;
mod truststore;
pub mod verify;

pub use accounts::AccountError;
pub use attach::{AttachError, Attaching, Form, PREDICATE_ANNOTATION, SIGNATURE, Signer};
pub use base_image::{Base, BaseError};
pub use build::{BuildError, BuiltImage, build, build_layout, write_layout, write_parity_layout};
pub use configuration::ImageConfiguration;
pub use contents::{ContentsError, unpack_image};
pub use database::DatabaseError;
pub use filesystem::FilesystemError;
pub use flatten::{FlattenError, flatten, write_root_cpio, write_root_erofs, write_root_tar};
pub use generate::GenerateError;
pub use layer::{Compression, Layer, LayerError};
pub use paths::PathError;
pub use plan::{
    ImagePlan, PlanError, PlannedPackage, Selection, Target, place, plan, plan_all, select,
};
pub use provenance::ImageRecord;
pub use sbom::SbomError;
pub use truststore::TrustStoreError;
