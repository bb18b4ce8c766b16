//! Shared libraries: which are needed, which are provided, and where links lead.

use std::io;

use archive::tree::{FileTree, Node, NodeKind, TreePath};

use super::{
    AnalyseError, Analysis, Elf, LIBRARY_FOLDERS, MAX_TEXT, file, folder, follow, start_of,
};

/// Libraries that the driver on the host brings into a container. Packages may neither need them
/// (nothing could provide them) nor provide them (they would hide the host's).
const HOST_LIBRARIES: [&str; 27] = [
    "libEGL_nvidia.so.1",
    "libGLESv1_CM_nvidia.so.1",
    "libGLESv2_nvidia.so.1",
    "libGLX_nvidia.so.1",
    "libcuda.so.1",
    "libcudadebugger.so.1",
    "libnvcuvid.so.1",
    "libnvidia-allocator.so.1",
    "libnvidia-cfg.so.1",
    "libnvidia-eglcore.so.1",
    "libnvidia-encode.so.1",
    "libnvidia-fbc.so.1",
    "libnvidia-glcore.so.1",
    "libnvidia-glsi.so.1",
    "libnvidia-glvkspirv.so.1",
    "libnvidia-gpucomp.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ngx.so.1",
    "libnvidia-nvvm.so.1",
    "libnvidia-opencl.so.1",
    "libnvidia-opticalflow.so.1",
    "libnvidia-pkcs11-openssl3.so.1",
    "libnvidia-pkcs11.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-rtcore.so.1",
    "libnvidia-tls.so.1",
    "libnvoptix.so.1",
];

impl<'a> Analysis<'a> {
    /// Takes the folders that `etc/ld.so.conf.d/*.conf` of this and its sibling packages name.
    pub(super) fn read_loader_configuration(&mut self) -> Result<(), AnalyseError> {
        for tree in self.trees() {
            for (path, node) in tree.iter() {
                let text = path.as_str();
                if !text.starts_with("etc/ld.so.conf.d/") || !text.ends_with(".conf") {
                    continue;
                }
                let NodeKind::File { content, .. } = &node.kind else {
                    continue;
                };
                let bytes = start_of(content, MAX_TEXT).map_err(|error| self.error(path, error))?;
                for line in String::from_utf8_lossy(&bytes).lines() {
                    if let Some(folder) = line.trim_end().strip_prefix('/') {
                        let folder = folder.trim_end_matches('/').to_owned();
                        self.extra_folders.push(folder);
                    }
                }
            }
        }
        Ok(())
    }

    /// This package's tree first, then its siblings'.
    fn trees(&self) -> impl Iterator<Item = &'a FileTree> + use<'a> {
        let own = self.package.tree;
        std::iter::once(own).chain(self.siblings.iter().copied())
    }

    fn is_library_folder(&self, folder: &str) -> bool {
        LIBRARY_FOLDERS.contains(&folder) || self.extra_folders.iter().any(|extra| extra == folder)
    }

    /// Needs `soname`, at the version it was built against where that is known.
    fn need_library(&mut self, path: &TreePath, soname: &str) {
        if HOST_LIBRARIES.contains(&soname) {
            return;
        }
        self.need(path, "so:", soname);
        // Every program needs the loader: a version would rebuild the world with each libc.
        if self.package.options.no_versioned_shlib_deps || soname.starts_with("ld-linux-") {
            return;
        }
        let version = self
            .package
            .library_versions
            .and_then(|versions| versions.get(soname));
        if let Some(version) = version {
            self.found
                .runtime
                .insert(format!("so-ver:{soname}>={version}"));
        }
    }

    pub(super) fn shared_object(
        &mut self,
        path: &'a TreePath,
        node: &'a Node,
    ) -> Result<(), AnalyseError> {
        if let NodeKind::Symlink { target } = &node.kind
            && path.as_str().contains(".so")
        {
            self.library_link(path, target)?;
        }
        let survey = self.survey;
        let facts = file(self.package.tree, path, node).and_then(|(real, _)| survey.get(&real));
        let Some(elf) = facts.and_then(|facts| facts.elf.as_ref()) else {
            return Ok(());
        };
        if let Some(interpreter) = &elf.interpreter {
            let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
            // musl's loader is a link to its libc.
            let name = match name.strip_prefix("ld-musl") {
                Some(rest) => format!("libc.musl{rest}"),
                None => name.to_owned(),
            };
            self.need(path, "so:", &name);
        }
        for library in &elf.needed {
            if library.contains(".so.") {
                self.need_library(path, library);
            }
        }
        // Programs have no soname, but jlink gives them one; libc.so.6 and others are libraries
        // that can be run.
        let file_name = path.file_name();
        let library =
            elf.interpreter.is_none() || file_name.contains(".so.") || file_name.ends_with(".so");
        if library {
            for soname in &elf.sonames {
                self.provide_library(path, soname);
            }
        }
        if elf.go_openssl {
            self.found
                .runtime
                .insert("openssl-config-fipshardened".to_owned());
            self.found.runtime.insert("so:libcrypto.so.3".to_owned());
        }
        Ok(())
    }

    fn provide_library(&mut self, path: &TreePath, soname: &str) {
        if HOST_LIBRARIES.contains(&soname) || !self.checked(path, soname) {
            return;
        }
        let names = [
            format!("so:{soname}={}", library_version(soname)),
            format!("so-ver:{soname}={}", self.package.version),
        ];
        if self.is_library_folder(folder(path)) {
            self.found.provides.extend(names);
        } else {
            self.found.vendored.extend(names);
        }
    }

    /// A link such as `libfoo.so` of a `-dev` package: the library it leads to, wherever among the
    /// siblings it lies, is needed.
    fn library_link(&mut self, path: &TreePath, target: &str) -> Result<(), AnalyseError> {
        let name = target.rsplit('/').next().unwrap_or(target);
        if matches!(name, "" | "." | "..") {
            return Ok(());
        }
        let folders: Vec<String> = LIBRARY_FOLDERS
            .iter()
            .map(|folder| (*folder).to_owned())
            .chain(self.extra_folders.iter().cloned())
            .collect();
        let found = self.trees().find_map(|tree| {
            folders
                .iter()
                .find_map(|folder| follow(tree, &format!("{folder}/{name}")))
        });
        let Some((_, content)) = found else {
            return Ok(());
        };
        let elf = Elf::read(content).map_err(|error: io::Error| self.error(path, error))?;
        for soname in elf.map(|elf| elf.sonames).unwrap_or_default() {
            self.need_library(path, &soname);
        }
        Ok(())
    }
}

/// The version in a soname: `1.2` of `libfoo.so.1.2`, and 0 where there is none of digits and dots.
fn library_version(soname: &str) -> &str {
    let version = soname.split(".so.").nth(1).unwrap_or_default();
    let digits = |letter: char| letter.is_ascii_digit() || letter == '.';
    if version.is_empty() || !version.chars().all(digits) {
        "0"
    } else {
        version
    }
}

#[cfg(test)]
mod tests {
    use super::library_version;

    #[test]
    fn versions_of_sonames() {
        for (soname, version) in [
            ("libfoo.so.1", "1"),
            ("libfoo.so.1.2", "1.2"),
            ("libfoo-3.so", "0"),
            ("libaws-c-s3.so.0unstable", "0"),
            ("libfoo.so.", "0"),
        ] {
            assert_eq!(library_version(soname), version);
        }
    }
}
