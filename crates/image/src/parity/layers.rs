//! The layers as apko writes them: one walk, files to the layer of their package, the rest to the
//! last (`pkg/build/layers.go`).

use std::collections::BTreeMap;

use archive::tar::{EntryKind, Header};
use archive::tree::Content;

use super::install::INSTALLED;
use super::tree::Walked;

/// One entry of a layer.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) content: Option<Content>,
}

#[derive(Default)]
struct Layer {
    entries: Vec<Entry>,
    /// The directories that were written last, by their places in the walk.
    stack: Vec<usize>,
}

impl Layer {
    /// Writes the directories of `stack` that this layer's last entries were not in, with the time
    /// of what follows. `walked[own]` is about to be written anyway.
    fn align(&mut self, walked: &[Walked], stack: &[usize], own: Option<usize>, mtime: u64) {
        let same = self
            .stack
            .iter()
            .zip(stack)
            .take_while(|(one, other)| one == other)
            .count();
        self.stack.truncate(same);
        for place in stack.get(same..).unwrap_or_default() {
            self.stack.push(*place);
            if own == Some(*place) {
                continue;
            }
            if let Some(directory) = walked.get(*place) {
                let mut header = directory.header.clone();
                header.mtime = mtime;
                self.entries.push(Entry {
                    header,
                    content: None,
                });
            }
        }
    }
}

/// Splits what was walked by groups of packages, the last layer having what is nobody's. Each group
/// brings the text of its own installed database.
pub(super) fn split(
    walked: Vec<Walked>,
    groups: &[Vec<usize>],
    records: &[String],
) -> Vec<Vec<Entry>> {
    let mut layers: Vec<Layer> = (0..=groups.len()).map(|_| Layer::default()).collect();
    let group_of: BTreeMap<usize, usize> = groups
        .iter()
        .enumerate()
        .flat_map(|(place, group)| group.iter().map(move |package| (*package, place)))
        .collect();
    let top = groups.len();
    let mut stack: Vec<usize> = Vec::new();
    for (place, entry) in walked.iter().enumerate() {
        let path = entry.header.path.as_str();
        if entry.header.kind == EntryKind::Directory {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            while let Some(last) = stack.last() {
                if walked.get(*last).map(|walked| walked.header.path.as_str()) == parent {
                    break;
                }
                stack.pop();
            }
            // Only directories leave the stack: those beside a file stand before it too.
            stack.push(place);
        }
        let layer = entry
            .owner
            .and_then(|owner| group_of.get(&owner))
            .unwrap_or(&top);
        if let Some(layer) = layers.get_mut(*layer) {
            layer.align(&walked, &stack, Some(place), entry.header.mtime);
            layer.entries.push(Entry {
                header: entry.header.clone(),
                content: entry.content.clone(),
            });
        }
        if path == INSTALLED {
            for (layer, group) in layers.iter_mut().zip(groups) {
                layer.align(&walked, &stack, None, entry.header.mtime);
                let text: String = group
                    .iter()
                    .filter_map(|package| records.get(*package))
                    .map(String::as_str)
                    .collect();
                let mut header = entry.header.clone();
                header.kind = EntryKind::File {
                    size: text.len() as u64,
                };
                layer.entries.push(Entry {
                    header,
                    content: Some(Content::Bytes(text.into_bytes().into())),
                });
            }
        }
    }
    layers.into_iter().map(|layer| layer.entries).collect()
}
