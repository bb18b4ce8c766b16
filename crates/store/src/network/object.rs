//! One question to an object store: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, Error, GetOptions, GetRange, ObjectStore, RetryConfig};
use url::Url;

use super::{Answer, Body, Credentials, NetworkSettings, Question, Validators};
use crate::refusal::Refusal;

/// Whether URLs of this scheme name objects.
pub(super) fn is_object(scheme: &str) -> bool {
    matches!(scheme, "s3" | "gs" | "az")
}

/// The object stores asked so far, by scheme and bucket.
#[derive(Clone)]
pub(super) struct Objects {
    settings: Arc<NetworkSettings>,
    stores: Arc<Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    pub(super) fn new(settings: Arc<NetworkSettings>) -> Objects {
        Objects {
            settings,
            stores: Arc::default(),
        }
    }

    pub(super) async fn put(
        &self,
        question: &Question<'_>,
        credentials: &Credentials,
    ) -> Result<Answer, Refusal> {
        let store = self.store(question.url, credentials)?;
        let path = Path::from_url_path(question.url.path())
            .map_err(|source| Refusal::Object(Error::InvalidPath { source }))?;
        let mut options = GetOptions::default();
        if let Some((from, validators)) = question.rest {
            options.range = Some(GetRange::Offset(from));
            options.if_match = validators.strong().map(str::to_owned);
        } else {
            options.if_none_match = question.unless.and_then(|known| known.etag.clone());
        }
        match store.get_opts(&path, options).await {
            Ok(result) => Ok(Answer::Body {
                start: result.range.start,
                total: Some(result.meta.size),
                validators: Validators {
                    etag: result.meta.e_tag.clone(),
                    last_modified: None,
                },
                body: Body::Object(result.into_stream().boxed()),
            }),
            Err(Error::NotModified { .. }) if question.unless.is_some() => Ok(Answer::Unchanged),
            Err(Error::Precondition { .. }) if question.rest.is_some() => Ok(Answer::Changed),
            Err(Error::NotFound { .. }) => Err(Refusal::NotThere),
            Err(error) => Err(Refusal::Object(error)),
        }
    }

    fn store(&self, url: &Url, credentials: &Credentials) -> Result<Arc<dyn ObjectStore>, Refusal> {
        let bucket = url.host_str().unwrap_or_default();
        let name = format!("{}://{bucket}", url.scheme());
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&name) {
            return Ok(Arc::clone(store));
        }
        let store = self
            .make(url.scheme(), bucket, credentials)
            .map_err(Refusal::Object)?;
        stores.insert(name, Arc::clone(&store));
        Ok(store)
    }

    fn make(
        &self,
        scheme: &str,
        bucket: &str,
        credentials: &Credentials,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        // Patience is the caller's; nothing is tried twice here.
        let retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let milliseconds = |time: std::time::Duration| format!("{}ms", time.as_millis());
        let client = [
            (
                ClientConfigKey::ConnectTimeout,
                milliseconds(self.settings.connect_timeout),
            ),
            (
                ClientConfigKey::ReadTimeout,
                milliseconds(self.settings.read_timeout),
            ),
            // Of a whole transfer, however large.
            (ClientConfigKey::Timeout, "1day".to_owned()),
        ];
        let options = credentials.object_options();
        Ok(match scheme {
            "s3" => {
                let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
                for (name, value) in options {
                    if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                for (key, value) in client {
                    builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
                }
                Arc::new(builder.with_retry(retry).build()?)
            }
            "gs" => {
                let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket);
                for (name, value) in options {
                    if let Ok(key) = name.parse::<GoogleConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                for (key, value) in client {
                    builder = builder.with_config(GoogleConfigKey::Client(key), value);
                }
                Arc::new(builder.with_retry(retry).build()?)
            }
            _ => {
                let mut builder = MicrosoftAzureBuilder::new().with_container_name(bucket);
                for (name, value) in options {
                    if let Ok(key) = name.parse::<AzureConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                for (key, value) in client {
                    builder = builder.with_config(AzureConfigKey::Client(key), value);
                }
                Arc::new(builder.with_retry(retry).build()?)
            }
        })
    }
}
