use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::WriteError;

use super::Finding;

/// The findings in one package, as programs read them: melange's `--persist-lint-results`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintResults {
    /// The package's name and full version: `hello-1.0-r0`.
    pub package_name: String,
    /// Findings by linter.
    pub findings: BTreeMap<String, Vec<LintResult>>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintResult {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub explain: String,
    /// `error` where the linter is required, else `warning`.
    pub severity: String,
    /// Where; which fields it has depends on the linter.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Findings can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// They can't be written as JSON.
    #[error("the findings in {package} can't be written as JSON: {source}")]
    Json {
        /// The package.
        package: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl LintResults {
    /// The findings in the package `name` of the full version `version`.
    ///
    /// # Errors
    /// They can't be written as JSON.
    pub fn new(
        name: &str,
        version: &str,
        findings: &[Finding],
    ) -> Result<LintResults, ResultsError> {
        let package_name = format!("{name}-{version}");
        let mut by_linter: BTreeMap<String, Vec<LintResult>> = BTreeMap::new();
        for finding in findings {
            let json = |source| ResultsError::Json {
                package: package_name.clone(),
                source,
            };
            let result = LintResult {
                message: format!("{name} {}", finding.message),
                explain: finding.linter.remedy.to_owned(),
                severity: format!("{:?}", finding.severity).to_lowercase(),
                details: serde_json::to_value(&finding.details).map_err(json)?,
            };
            let list = by_linter.entry(finding.linter.name.to_owned());
            list.or_default().push(result);
        }
        Ok(LintResults {
            package_name,
            findings: by_linter,
        })
    }

    /// Writes them to `lint-NAME-VERSION.json` in `folder`; nothing where there are none. Gives the
    /// file.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, folder: &Path) -> Result<Option<PathBuf>, ResultsError> {
        if self.findings.is_empty() {
            return Ok(None);
        }
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|source| ResultsError::Json {
            package: self.package_name.clone(),
            source,
        })?;
        bytes.push(b'\n');
        // A package's name and version have no `/`; what is read from a stranger's might.
        let name = self.package_name.replace(['/', '\0'], "_");
        let path = folder.join(format!("lint-{name}.json"));
        std::fs::create_dir_all(folder).map_err(WriteError::at("create the folder", folder))?;
        store::write_atomically(&path, &bytes)?;
        Ok(Some(path))
    }
}
