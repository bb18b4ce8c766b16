//! Layers that are being made: compressed first, then hashed together.

use std::io;
use std::sync::OnceLock;

use base::Digest;
use oci::Descriptor;
use rayon::prelude::*;
use serde::Serialize;
use store::Store;

use super::blob::{Blob, Compressed};
use super::hashing::{self, Hashed, Stream};
use super::parts::{Part, Source};
use super::prefix::{Known, Prefixes};
use super::{Compression, FORMAT, LAYERS, Layer, LayerError, Target, pieces, run, segment};

#[derive(Serialize)]
struct LayerKey {
    format: &'static str,
    compression: Compression,
    parts: Vec<Digest>,
}

/// A layer that was made before, or is made now.
pub(super) enum Drafted<'a> {
    Known(Layer),
    New(Box<Draft<'a>>),
}

/// A layer whose parts are compressed, and of which the hashes are missing.
pub(super) struct Draft<'a> {
    parts: &'a [Part<'a>],
    blob: Blob,
    /// What names it, and the beginnings of it.
    names: Option<(Digest, Prefixes)>,
    /// How far it is hashed, if it begins as another.
    known: Option<Known>,
    contents: OnceLock<Hashed>,
    hashed: OnceLock<(Digest, Vec<String>)>,
}

/// The layer of these parts: made before, or begun now.
pub(super) fn draft<'a>(
    store: &Store,
    compression: Compression,
    parts: &'a [Part<'a>],
) -> Result<Drafted<'a>, LayerError> {
    let keys: Vec<Digest> = parts
        .iter()
        .map(|part| match &part.source {
            Source::Generated => run::digest(&part.items),
            Source::Package { key, .. } => Ok(*key),
        })
        .collect::<Result<_, _>>()?;
    let prefixes = Prefixes::of(compression, &keys)?;
    let key = Digest::of(&serde_json::to_vec(&LayerKey {
        format: FORMAT,
        compression,
        parts: keys,
    })?);
    if let Some(layer) = store.record_get::<Layer>(LAYERS, &key)?
        && pieces::is_kept(store, &layer.digest)?
    {
        return Ok(Drafted::Known(layer));
    }
    let known = prefixes.longest_known(store)?;
    let draft = Draft::new(store, compression, parts)?;
    Ok(Drafted::New(Box::new(Draft {
        names: Some((key, prefixes)),
        known,
        ..draft
    })))
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        store: &Store,
        compression: Compression,
        parts: &'a [Part<'a>],
    ) -> Result<Draft<'a>, LayerError> {
        let segments: Vec<Compressed> = parts
            .par_iter()
            .map(|part| segment(store, compression, part))
            .collect::<Result<_, _>>()?;
        Ok(Draft {
            parts,
            blob: Blob::new(store, compression, parts, segments)?,
            names: None,
            known: None,
            contents: OnceLock::new(),
            hashed: OnceLock::new(),
        })
    }

    /// How many parts need not be hashed.
    fn done(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.parts)
    }

    /// The contents as tar, without its end, and the blob.
    fn streams(&self) -> [Stream<'_>; 2] {
        let done = self.done();
        let rest = self.parts.get(done..).unwrap_or_default();
        let (mut sources, mut length) = (Vec::new(), 0);
        for part in rest {
            sources.push(part.content());
            sources.push(hashing::Source::State);
            length += part.length();
        }
        let (tar, blob) = match &self.known {
            Some(known) => (known.tar.clone(), known.blob.clone()),
            None => Default::default(),
        };
        let contents = Stream {
            sources,
            hasher: tar,
            length,
        };
        let blob = Stream {
            sources: self.blob.sources(done),
            hasher: blob,
            length: self.blob.size(),
        };
        [contents, blob]
    }

    /// Takes the hash of its blob, and puts that where it is wanted.
    fn put(
        &self,
        target: Target<'_>,
        compression: Compression,
        (hasher, states): Hashed,
    ) -> Result<(), LayerError> {
        let digest = hasher.finish();
        pieces::keep(target.store, &digest, &self.blob.pieces)?;
        if let Some(layout) = target.layout {
            let descriptor = Descriptor::new(compression.media_type(), digest, self.blob.size());
            pieces::put(layout, &descriptor, target.store)?;
        }
        self.hashed.get_or_init(|| (digest, states));
        Ok(())
    }

    fn finish(self, store: &Store, compression: Compression) -> Result<Layer, LayerError> {
        let done = self.done();
        let unhashed = || LayerError::Io(io::Error::other("a layer was not hashed"));
        let (mut contents, tar_states) = self.contents.into_inner().ok_or_else(unhashed)?;
        let (digest, blob_states) = self.hashed.into_inner().ok_or_else(unhashed)?;
        contents.update(&self.blob.end.tar);
        let layer = Layer {
            digest,
            size: self.blob.size(),
            diff_id: contents.finish(),
            media_type: compression.media_type().to_owned(),
            annotations: self.blob.end.annotations,
        };
        if let Some((key, prefixes)) = self.names {
            prefixes.remember(store, done, tar_states.into_iter().zip(blob_states))?;
            store.record_put(LAYERS, &key, &layer)?;
        }
        Ok(layer)
    }
}

/// Hashes layers that are begun, and puts each where it is wanted as soon as that can be done.
pub(super) fn finish(
    target: Target<'_>,
    compression: Compression,
    drafted: Vec<Drafted<'_>>,
) -> Result<Vec<Layer>, LayerError> {
    let drafts: Vec<&Draft<'_>> = drafted
        .iter()
        .filter_map(|drafted| match drafted {
            Drafted::Known(_) => None,
            Drafted::New(draft) => Some(&**draft),
        })
        .collect();
    let streams = drafts.iter().flat_map(|draft| draft.streams()).collect();
    hashing::hash(target.store, streams, |place, hashed| {
        match (drafts.get(place / 2), place % 2) {
            (Some(draft), 1) => draft.put(target, compression, hashed)?,
            (Some(draft), _) => _ = draft.contents.get_or_init(|| hashed),
            (None, _) => {}
        }
        Ok(())
    })?;
    drop(drafts);
    let finish = |drafted| match drafted {
        Drafted::Known(layer) => Ok(layer),
        Drafted::New(draft) => draft.finish(target.store, compression),
    };
    drafted.into_iter().map(finish).collect()
}
