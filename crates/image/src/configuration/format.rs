//! `format` of an image file.

use yaml::{Decoder, Fields, Spanned};

use super::decode::error;
use super::{Contents, LayerFormat, Layering};

/// One EROFS image is all of an image's files: it is not split, and lies upon no other.
pub(super) fn decode(
    fields: &mut Fields<'_>,
    layering: Option<&Layering>,
    contents: &Contents,
    decoder: &mut Decoder,
) -> Option<LayerFormat> {
    let format = fields.optional::<Spanned<String>>("format", decoder)?;
    match format.as_str() {
        "" => None,
        "tar" => Some(LayerFormat::Tar),
        "erofs" => {
            if layering.is_some_and(|layering| layering.strategy.is_some()) {
                error(
                    decoder,
                    "layered-erofs",
                    format.span(),
                    "an EROFS image is one layer, and `layering` asks for several",
                    "leave one of them out",
                );
            }
            if contents.baseimage.is_some() {
                error(
                    decoder,
                    "erofs-over-base-image",
                    format.span(),
                    "an EROFS image has all files of an image, and can't be added to another",
                    "leave `baseimage` or `format` out",
                );
            }
            Some(LayerFormat::Erofs)
        }
        other => {
            error(
                decoder,
                "unknown-format",
                format.span(),
                format!("`{other}` is no layer format"),
                "the formats are `tar` and `erofs`",
            );
            None
        }
    }
}
