//! Opening a root after a transaction was interrupted.

use base::{Digest, Reporter};

use super::InstallError;
use super::journal::{self, Begin, Journal, Unreadable};
use super::recover::Story;
use super::root::{Access, Root};
use super::write::NEW;

impl Root {
    /// SHA-256 of `installed` as it is now.
    pub(super) fn installed_digest(&self) -> Result<Digest, InstallError> {
        let file = format!("{}/installed", self.folder);
        let bytes = self
            .read_file(&file)
            .map_err(|error| self.database_error(error))?;
        Ok(Digest::of(&bytes.unwrap_or_default()))
    }

    /// Reads the packages, and puts in order what an interrupted transaction left.
    pub(super) fn look_back(&mut self, reporter: &dyn Reporter) -> Result<(), InstallError> {
        let own = journal::path(self.folder);
        let is_own = self
            .beneath
            .place(&own)
            .is_ok_and(|place| place.stat().is_ok());
        let journal = if is_own {
            own
        } else {
            journal::FIRST.to_owned()
        };
        let failed = |unreadable: Unreadable| {
            let path = self.path.join(&journal);
            match unreadable {
                Unreadable::Link => InstallError::Linked { path },
                Unreadable::File(source) => InstallError::Journal {
                    path,
                    reason: source.to_string(),
                },
                Unreadable::Unknown(source) => InstallError::JournalVersion {
                    path,
                    reason: source.to_string(),
                },
            }
        };
        let story = match journal::read(&self.beneath, &journal) {
            Ok(None) => return self.read_packages(),
            Ok(Some((records, length))) => Story::of(records).map(|story| (story, length)),
            // Reading goes on without it: the database is whole at any time.
            Err(_) if self.access == Access::Read => return self.read_packages(),
            Err(error) => return Err(failed(error)),
        };
        if self.access == Access::Read {
            if let Some((story, _)) = &story
                && !self.is_locked()
            {
                self.interrupted = story.summary();
            }
            return self.read_packages();
        }
        let Some((story, length)) = story else {
            self.remove_journal(&journal)?;
            return self.read_packages();
        };
        self.recover(story, &journal, length, reporter)
    }

    fn recover(
        &mut self,
        story: Story,
        path: &str,
        length: u64,
        reporter: &dyn Reporter,
    ) -> Result<(), InstallError> {
        let notice = |message: &str| reporter.report(base::Event::Notice { message });
        let installed = self.installed_digest()?;
        if let Some(files) = &story.database
            && self.is_complete(files)?
        {
            // All but the names was done.
            self.rename(files.iter().map(|(file, _)| file.as_str()))?;
            self.remove_journal(path)?;
            return self.read_packages();
        }
        if installed != story.installed() {
            story.sweep(&self.beneath);
            notice(
                "WARNING: an interrupted transaction is forgotten: the database was changed since; `fix` and `audit` tell what is left of it",
            );
            self.remove_journal(path)?;
            return self.read_packages();
        }
        self.read_packages()?;
        let Some(summary) = story.summary() else {
            self.modified = story.modified();
            return Ok(());
        };
        let mut message = "WARNING: an interrupted transaction was put in order".to_owned();
        if let Some(package) = &summary.unfinished {
            message.push_str(&format!(" (it was at {package})"));
        }
        message.push_str("; what it did not come to is still to be done");
        let rules = self.rules()?;
        let packages = std::mem::take(&mut self.packages);
        let recovered = story
            .recover(&self.beneath, packages, &rules)
            .map_err(|source| InstallError::Journal {
                path: self.path.join(path),
                reason: source.to_string(),
            })?;
        let failed = |source| self.file_error("write", path, source);
        let mut journal =
            Journal::resume(&self.beneath, path, length, self.is_own()).map_err(failed)?;
        self.write_database(
            &recovered.packages,
            &self.world,
            &mut journal,
            self.is_own(),
        )?;
        drop(journal);
        self.remove_journal(path)?;
        self.has_folder = true;
        self.modified = recovered.modified;
        if !self.modified.is_empty() {
            // Until a transaction tells the triggers.
            let begin = self.begin(&[])?;
            let path = self.journal();
            Journal::create(&self.beneath, &path, begin, self.is_own())
                .map_err(|source| self.file_error("write", &path, source))?;
        }
        notice(&message);
        self.interrupted = Some(summary);
        self.read_packages()
    }

    /// Whether each of the database's new files is whole, under its own name or beside it.
    fn is_complete(&self, files: &[(String, Digest)]) -> Result<bool, InstallError> {
        for (file, digest) in files {
            let mut is_there = false;
            for path in [format!("{file}{NEW}"), file.clone()] {
                let bytes = self
                    .read_file(&path)
                    .map_err(|error| self.database_error(error))?;
                is_there |= bytes.is_some_and(|bytes| Digest::of(&bytes) == *digest);
            }
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn begin(&self, changing: &[String]) -> Result<Begin, InstallError> {
        Ok(Begin {
            installed: self.installed_digest()?,
            boot: journal::boot(),
            changing: changing.to_vec(),
            modified: self.modified.clone(),
        })
    }

    /// Where the journal is kept.
    pub(super) fn journal(&self) -> String {
        if self.has_folder {
            journal::path(self.folder)
        } else {
            journal::FIRST.to_owned()
        }
    }

    pub(super) fn remove_journal(&self, path: &str) -> Result<(), InstallError> {
        Journal::remove(&self.beneath, path)
            .map_err(|source| self.file_error("remove", path, source))
    }
}
