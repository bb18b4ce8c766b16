use base::Epoch;
use image::ImageRecord;

use super::signatory::Signatory;
use super::subject::Subject;
use crate::arguments::trust::Sign;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &Sign, session: &Session<'_>) -> Result<(), Failure> {
    let signing = &arguments.signing;
    let what = || format!("{} was not signed", signing.image);
    let signatory = Signatory::find(signing, session).await?;
    let subject = Subject::find(signing, session).await?;
    let record = ImageRecord::find(&session.store()?, &subject.digest())
        .map_err(|error| Failure::failed(what(), error))?;
    let own = record.as_ref().map_or(Epoch(0), |record| record.epoch);
    let ready = signatory.ready(&signing.image, session).await?;
    let epoch = signing.source_date_epoch.map_or(own, Epoch);
    let attaching = subject.attaching(epoch, ready.signer());
    let known = record.is_some();
    let attached = match record {
        Some(record) => {
            let provenance = Some(record.provenance);
            attaching
                .all(subject.name(), &record.sbom, provenance)
                .await
        }
        None => attaching
            .sign(subject.name())
            .await
            .map(|signed| vec![signed]),
    };
    let attached = attached.map_err(|error| Failure::failed(what(), error))?;
    subject.send(&attached).await?;
    session.notice(&match known {
        true => format!(
            "{}: signed; {} statements attached to {}",
            subject.digest(),
            attached.len(),
            signing.image
        ),
        false => format!(
            "{}: signed. The store knows nothing of how it was made, so no SBOM and no provenance \
             are attached: sign it where `polpo image build` made it, with the same --store, or \
             give them to `polpo attest`",
            subject.digest()
        ),
    });
    Ok(())
}
