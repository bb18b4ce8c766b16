use std::collections::BTreeSet;

use super::description::{Telling, Value};
use super::field::{Field, Fields};
use super::population::{PackageId, Population, compare_names};
use crate::catalogue::CatalogueError;

impl<'a> Population<'a> {
    /// What the fields of all these packages name, each once and sorted: names, or packages for
    /// [`Field::Package`] and reverse dependencies told as packages. Conflicts are left out.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn summarise(
        &self,
        packages: &[PackageId],
        telling: &Telling,
    ) -> Result<Vec<String>, CatalogueError> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut labelled: BTreeSet<PackageId> = BTreeSet::new();
        for id in packages {
            for field in telling.fields.iter() {
                self.gather(*id, field, telling, &mut found, &mut labelled)?;
            }
        }
        if found.is_empty() {
            let mut labelled: Vec<PackageId> = labelled.into_iter().collect();
            labelled.sort_by(|left, right| self.display_order(*left, *right));
            return Ok(labelled.into_iter().map(|id| self.label(id)).collect());
        }
        let mut found: Vec<String> = found.into_iter().collect();
        found.sort_by(|left, right| compare_names(left, right));
        Ok(found)
    }

    fn gather(
        &self,
        id: PackageId,
        field: Field,
        telling: &Telling,
        found: &mut BTreeSet<String>,
        labelled: &mut BTreeSet<PackageId>,
    ) -> Result<(), CatalogueError> {
        use super::field::ReverseField;
        let reverse = match field {
            Field::ReverseDepends => Some(self.reverse_depends(id, telling.installed_only)?),
            Field::ReverseInstallIf => Some(self.reverse_install_if(id, telling.installed_only)?),
            Field::Package => {
                labelled.insert(id);
                return Ok(());
            }
            _ => None,
        };
        if let Some(reverse) = &reverse
            && telling.reverse == ReverseField::Package
        {
            labelled.extend(reverse);
            return Ok(());
        }
        let entry = self.entry(id)?;
        let mut terms = self.terms(id, &entry, field).peekable();
        let is_told_otherwise = terms.peek().is_none();
        let named = terms.filter(|term| !term.conflict);
        found.extend(named.map(|term| term.name.clone()));
        if is_told_otherwise {
            let told = Telling {
                fields: Fields::of(&[field]),
                ..*telling
            };
            let (description, _) = self.describe(id, &told)?;
            for (field, value) in description {
                match value {
                    Value::Text(text) => _ = found.insert(text),
                    Value::List(texts)
                        if matches!(field, Field::ReverseDepends | Field::ReverseInstallIf) =>
                    {
                        found.extend(texts);
                    }
                    Value::List(_) | Value::Number(_) => {}
                }
            }
        }
        Ok(())
    }
}
