use yaml::{Decode, Decoder, Node};

use super::record::record;
use super::text::Text;

record! {
    /// How newer versions are found. Nothing here is executed; variables stay as written.
    Update as "update" {
        /// Whether updates are looked for.
        value enabled: bool = "enabled",
        /// Whether a person makes them.
        value manual: bool = "manual",
        /// Whether they must be merged one after the other.
        value require_sequential: bool = "require-sequential",
        /// Whether packages that depend on it are to be built anew.
        value shared: bool = "shared",
        /// What separates the parts of a version.
        optional version_separator: Text = "version-separator",
        /// Versions to leave out.
        value ignore_regex_patterns: Vec<Text> = "ignore-regex-patterns",
        /// Release Monitoring.
        optional release_monitor: ReleaseMonitor = "release-monitor",
        /// GitHub releases or tags.
        optional github: GitHubMonitor = "github",
        /// Git tags.
        optional git: GitMonitor = "git",
        /// Tags of an image.
        optional oci: OciMonitor = "oci",
        /// Version data of several sources.
        optional version_data: VersionDataMonitor = "version_data",
        /// From upstream's version to apk's.
        value version_transform: Vec<VersionTransform> = "version-transform",
        /// Why updates are off.
        optional exclude_reason: Text = "exclude-reason",
        /// How often updates are looked for.
        optional schedule: Schedule = "schedule",
        /// Whether pre-releases count.
        value enable_prerelease_tags: bool = "enable-prerelease-tags",
    }

    /// Release Monitoring.
    ReleaseMonitor as "release-monitor" {
        /// The project's number.
        required identifier: i64 = "identifier",
        /// Removed from the front of a version.
        optional strip_prefix: Text = "strip-prefix",
        /// Removed from the end of a version.
        optional strip_suffix: Text = "strip-suffix",
        /// What a version must contain.
        optional version_filter_contains: Text = "version-filter-contains",
        /// What a version must begin with.
        optional version_filter_prefix: Text = "version-filter-prefix",
    }

    /// GitHub releases or tags.
    GitHubMonitor as "github" {
        /// `OWNER/NAME`.
        required identifier: Text = "identifier",
        /// Removed from the front of a version.
        optional strip_prefix: Text = "strip-prefix",
        /// Removed from the end of a version.
        optional strip_suffix: Text = "strip-suffix",
        /// The old name of `tag-filter-prefix`.
        optional tag_filter: Text = "tag-filter",
        /// What a tag must begin with.
        optional tag_filter_prefix: Text = "tag-filter-prefix",
        /// What a tag must contain.
        optional tag_filter_contains: Text = "tag-filter-contains",
        /// Whether tags count instead of releases.
        value use_tag: bool = "use-tag",
    }

    /// Git tags.
    GitMonitor as "git" {
        /// Removed from the front of a version.
        optional strip_prefix: Text = "strip-prefix",
        /// Removed from the end of a version.
        optional strip_suffix: Text = "strip-suffix",
        /// What a tag must begin with.
        optional tag_filter_prefix: Text = "tag-filter-prefix",
        /// What a tag must contain.
        optional tag_filter_contains: Text = "tag-filter-contains",
    }

    /// Tags of an image.
    OciMonitor as "oci" {
        /// The image.
        required identifier: Text = "identifier",
        /// Removed from the front of a version.
        optional strip_prefix: Text = "strip-prefix",
        /// Removed from the end of a version.
        optional strip_suffix: Text = "strip-suffix",
        /// What a tag must begin with.
        optional tag_filter_prefix: Text = "tag-filter-prefix",
        /// What a tag must contain.
        optional tag_filter_contains: Text = "tag-filter-contains",
    }

    /// Version data of several sources.
    VersionDataMonitor as "version_data" {
        /// How a version is put together, out of `${{SOURCE.FIELD}}`.
        required version_format: Text = "version_format",
        /// The sources.
        value sources: Vec<VersionDataSource> = "sources",
    }

    /// One source of version data.
    VersionDataSource as "the source" {
        /// Its name in the format.
        required name: Text = "name",
        /// The stream of versions it follows.
        value stream: Text = "stream",
        /// Versions to leave out.
        value ignore: Vec<Text> = "ignore",
        /// The source whose commits count.
        optional commit_source: Text = "commit_source",
        /// Whether releases count instead of tags.
        value use_release: bool = "use_release",
    }

    /// From upstream's version to apk's.
    VersionTransform as "version-transform" {
        /// What is replaced, in RE2's syntax.
        required matching: Text = "match",
        /// What takes its place.
        value replace: Text = "replace",
    }

    /// How often updates are looked for.
    Schedule as "schedule" {
        /// Why.
        optional reason: Text = "reason",
        /// How often.
        optional period: Period = "period",
    }
}

/// How often updates are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
}

impl Period {
    /// All of them, as the format writes them.
    pub const WORDS: [&str; 3] = ["daily", "weekly", "monthly"];

    /// As the format writes it.
    pub fn word(self) -> &'static str {
        match self {
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
        }
    }
}

impl Decode for Period {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Period> {
        match node.text() {
            Some("daily") => Some(Period::Daily),
            Some("weekly") => Some(Period::Weekly),
            Some("monthly") => Some(Period::Monthly),
            _ => {
                decoder.mismatch("`daily`, `weekly` or `monthly`", node);
                None
            }
        }
    }
}
