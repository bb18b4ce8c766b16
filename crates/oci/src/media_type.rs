//! The media types that polpo reads and writes.

/// An image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer: an uncompressed tar.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer: a gzip-compressed tar.
pub const LAYER_TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer: a zstd-compressed tar.
pub const LAYER_TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer: an EROFS image, not compressed (the draft of erofs-image-spec; apko writes it too).
pub const EROFS: &str = "application/vnd.erofs";
/// The two bytes `{}`, the configuration of artefacts that have none.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A DSSE envelope in JSON: a signed statement.
pub const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// Docker's image manifest, schema 2; read, never written.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list; read, never written.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Whether `media_type` is an image manifest, OCI's or Docker's.
pub fn is_manifest(media_type: &str) -> bool {
    media_type == MANIFEST || media_type == DOCKER_MANIFEST
}

/// Whether `media_type` is a list of manifests, OCI's or Docker's.
pub fn is_index(media_type: &str) -> bool {
    media_type == INDEX || media_type == DOCKER_MANIFEST_LIST
}
