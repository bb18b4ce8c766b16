use base::Epoch;
use build::authoring::create::{Kind, NewRecipe, guess, text};
use build::licences;
use build::recipe::{Fetch, SourceRequest};
use build::source::Sources;

use crate::arguments::recipe::{RecipeKind, RecipeNew};
use crate::command::{interruptible, recipes};
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) async fn run(arguments: &RecipeNew, session: &Session<'_>) -> Result<(), Failure> {
    let uri = &arguments.uri;
    let (name, version) = match (&arguments.name, &arguments.version, guess(uri)) {
        (Some(name), Some(version), _) => (name.clone(), version.clone()),
        (name, version, Some(guessed)) => (
            name.clone().unwrap_or(guessed.0),
            version.clone().unwrap_or(guessed.1),
        ),
        _ => {
            return Err(Failure::Usage(format!(
                "{uri} tells no name and version; give them with --name and --version"
            )));
        }
    };
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let fetch = Fetch {
        uri: uri.clone(),
        file_name: uri.rsplit('/').next().unwrap_or_default().to_owned(),
        expected: None,
        strip_components: 0,
        extract: false,
        delete: false,
        directory: String::new(),
        purl_name: String::new(),
        purl_version: String::new(),
    };
    let wanted = [SourceRequest::Fetch(&fetch)];
    let fetching = Sources::fetch(&store, &wanted, &origins, Epoch(0), session.reporter());
    let failed = |error| Failure::failed("the source can't be had", error);
    let sources = interruptible(fetching).await?.map_err(failed)?;
    let Some(digest) = sources.digest(&fetch) else {
        return Ok(());
    };
    // A source that is no archive has no files.
    let licences = match &arguments.license {
        Some(_) => Vec::new(),
        None => licences::of_archive(&store, &digest).unwrap_or_default(),
    };
    print_raw(&text(&NewRecipe {
        kind: match arguments.kind {
            RecipeKind::Autotools => Kind::Autotools,
            RecipeKind::Cmake => Kind::Cmake,
            RecipeKind::Meson => Kind::Meson,
            RecipeKind::Python => Kind::Python,
            RecipeKind::Go => Kind::Go,
            RecipeKind::Rust => Kind::Rust,
            RecipeKind::Perl => Kind::Perl,
            RecipeKind::Other => Kind::Other,
        },
        name,
        version,
        license: arguments.license.clone(),
        licences,
        uri: uri.clone(),
        digest,
    }))
}
