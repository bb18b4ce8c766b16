//! Private keys that stay in a token: a smart card, a security module or a program that stands for
//! one, spoken to by PKCS#11. They are named by URIs (RFC 7512).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;
use percent_encoding::percent_decode_str;

use crate::{Curve, KeyError, Password, PrivateKey, PublicKey, Scheme, der, files};

/// What a URI of a key in a token begins with.
const SCHEME: &str = "pkcs11:";

/// A key in a token can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The URI is none.
    #[error("`{uri}` names no key in a token: {reason}")]
    Uri {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No library is named that speaks to the token.
    #[error(
        "`{uri}` does not say which library speaks to the token: append `?module-path=/…/libNAME.so`, or set POLPO_PKCS11_MODULE"
    )]
    NoModule {
        /// The URI.
        uri: String,
    },
    /// The library fails.
    #[error("{}: can't {action}: {source}", module.display())]
    Module {
        /// The library.
        module: PathBuf,
        /// What it was to do.
        action: &'static str,
        /// Why not.
        source: Error,
    },
    /// There are more or fewer tokens, or keys in it, than one.
    #[error("`{uri}` names {found} {what}; {}", if *.found == 0 { "look it up by `pkcs11-tool --list-objects`" } else { "name one by more of `token`, `serial`, `object` and `id`" })]
    NotOne {
        /// The URI.
        uri: String,
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The token wants a PIN.
    #[error(
        "the token of `{uri}` wants a PIN: set POLPO_KEY_PASSWORD, name a file by `pin-source`, or call polpo on a terminal"
    )]
    NoPin {
        /// The URI.
        uri: String,
    },
    /// The PIN can't be read.
    #[error("the PIN: {0}")]
    Pin(#[from] files::FileError),
    /// The key is of a kind that is not supported.
    #[error("the key `{uri}`: {source}")]
    Key {
        /// The URI.
        uri: String,
        /// What is wrong.
        source: KeyError,
    },
}

/// Which key of which token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    token: Option<String>,
    serial: Option<String>,
    slot: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: Option<PathBuf>,
    pin_source: Option<PathBuf>,
}

impl TokenUri {
    /// Whether a text is meant to be such a URI.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// What the key is called: its label, or its id in hex.
    pub fn name(&self) -> String {
        match (&self.object, &self.id) {
            (Some(object), _) => object.clone(),
            (None, Some(id)) => hex(id),
            (None, None) => "token".to_owned(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TokenUri {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<TokenUri, TokenError> {
        // A PIN in it is not shown again, whatever else is wrong.
        let pin = text.to_ascii_lowercase().find("pin-value");
        let shown = text.get(..pin.unwrap_or(text.len())).unwrap_or(SCHEME);
        let wrong = |reason: String| TokenError::Uri {
            uri: shown.trim_end_matches([';', '?', '&']).to_owned(),
            reason,
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong(format!("it does not begin with `{SCHEME}`")))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = TokenUri {
            text: text.to_owned(),
            ..TokenUri::default()
        };
        let attributes = path.split(';').chain(query.split('&'));
        for attribute in attributes.filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute
                .split_once('=')
                .ok_or_else(|| wrong(format!("`{attribute}` has no value")))?;
            let bytes: Vec<u8> = percent_decode_str(value).collect();
            let value = || {
                String::from_utf8(bytes.clone()).map_err(|_| wrong(format!("{name} is no UTF-8")))
            };
            let place = || {
                let value = value()?;
                let path = value.strip_prefix("file:").unwrap_or(&value);
                Ok::<PathBuf, TokenError>(PathBuf::from(path))
            };
            match name {
                "token" => uri.token = Some(value()?),
                "serial" => uri.serial = Some(value()?),
                "slot-id" => {
                    let number = value()?.parse();
                    uri.slot = Some(number.map_err(|_| wrong("slot-id is no number".to_owned()))?);
                }
                "object" => uri.object = Some(value()?),
                "id" => uri.id = Some(bytes.clone()),
                "type" if value()? == "private" => {}
                "module-path" => uri.module = Some(place()?),
                "pin-source" => uri.pin_source = Some(place()?),
                "pin-value" => {
                    let reason = "a PIN on the command line can be read by everybody on the machine; \
                        use POLPO_KEY_PASSWORD or `pin-source`";
                    return Err(wrong(reason.to_owned()));
                }
                _ => {
                    return Err(wrong(format!(
                        "`{name}` is not understood; known are token, serial, slot-id, object, id, \
                         type=private, and behind a `?` module-path and pin-source"
                    )));
                }
            }
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(wrong("neither `object` nor `id` says which key".to_owned()));
        }
        Ok(uri)
    }
}

/// A key in a token, to which a session stays open.
pub struct TokenKey {
    session: Mutex<Session>,
    key: ObjectHandle,
    public: PublicKey,
}

/// Finds a key in a token. `module` is the library where the URI names none; the PIN is asked for
/// where the token wants one and the URI names no file of it.
///
/// # Errors
/// See [`TokenError`]; no error shows the PIN.
pub fn open_token(
    uri: &TokenUri,
    module: Option<&Path>,
    pin: impl FnOnce() -> Option<Password>,
) -> Result<PrivateKey, TokenError> {
    let module = uri.module.as_deref().or(module);
    let module = module.ok_or_else(|| TokenError::NoModule {
        uri: uri.to_string(),
    })?;
    let failed = |action| {
        move |source| TokenError::Module {
            module: module.to_owned(),
            action,
            source,
        }
    };
    let context = context(module).map_err(failed("load it"))?;
    let slot = slot(&context, uri, &failed("list tokens"))?;
    let info = context
        .get_token_info(slot)
        .map_err(failed("look at the token"))?;
    let session = context
        .open_ro_session(slot)
        .map_err(failed("open a session"))?;
    if info.login_required() {
        let pin = match &uri.pin_source {
            Some(path) => Some(files::load_password(path)?),
            None => pin(),
        };
        let pin = pin.ok_or_else(|| TokenError::NoPin {
            uri: uri.to_string(),
        })?;
        let pin = RawAuthPin::new(Box::new(pin.bytes().to_vec()));
        match session.login_with_raw(UserType::User, &pin) {
            // By an earlier session of this process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(failed("log in to the token")(error)),
        }
    }
    let read = failed("read the key");
    let key = one_key(&session, uri, ObjectClass::PRIVATE_KEY, &read)?;
    let public = public(&session, uri, key, &read)?;
    Ok(PrivateKey::Token(Box::new(TokenKey {
        session: Mutex::new(session),
        key,
        public,
    })))
}

/// The library, which is loaded once and stays: ending it would end the sessions of all keys.
fn context(module: &Path) -> Result<Pkcs11, Error> {
    static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = loaded.get(module) {
        return Ok(context.clone());
    }
    let context = Pkcs11::new(module)?;
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    loaded.insert(module.to_owned(), context.clone());
    Ok(context)
}

fn slot(
    context: &Pkcs11,
    uri: &TokenUri,
    failed: &impl Fn(Error) -> TokenError,
) -> Result<Slot, TokenError> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_initialized_token().map_err(failed)? {
        let info = context.get_token_info(slot).map_err(failed)?;
        let suits = |wanted: &Option<String>, is: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == is.trim_end())
        };
        if suits(&uri.token, info.label())
            && suits(&uri.serial, info.serial_number())
            && uri.slot.is_none_or(|wanted| wanted == slot.id())
        {
            found.push(slot);
        }
    }
    match found[..] {
        [slot] => Ok(slot),
        _ => Err(TokenError::NotOne {
            uri: uri.to_string(),
            what: "tokens",
            found: found.len(),
        }),
    }
}

fn one_key(
    session: &Session,
    uri: &TokenUri,
    class: ObjectClass,
    failed: &impl Fn(Error) -> TokenError,
) -> Result<ObjectHandle, TokenError> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(
        uri.object
            .as_ref()
            .map(|label| Attribute::Label(label.clone().into_bytes())),
    );
    template.extend(uri.id.clone().map(Attribute::Id));
    let found = session.find_objects(&template).map_err(failed)?;
    match found[..] {
        [key] => Ok(key),
        _ => Err(TokenError::NotOne {
            uri: uri.to_string(),
            what: match class {
                ObjectClass::PRIVATE_KEY => "private keys",
                _ => "public keys",
            },
            found: found.len(),
        }),
    }
}

/// The other half: of an RSA key in the key itself, else in the object beside it.
fn public(
    session: &Session,
    uri: &TokenUri,
    key: ObjectHandle,
    failed: &impl Fn(Error) -> TokenError,
) -> Result<PublicKey, TokenError> {
    let attributes =
        |of, wanted: &[AttributeType]| session.get_attributes(of, wanted).map_err(failed);
    let kind = attributes(key, &[AttributeType::KeyType])?;
    let made = match kind.first() {
        Some(Attribute::KeyType(KeyType::RSA)) => {
            let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
            match &attributes(key, &wanted)?[..] {
                [
                    Attribute::Modulus(modulus),
                    Attribute::PublicExponent(exponent),
                ] => PublicKey::from_rsa(modulus, exponent),
                _ => Err(KeyError::Rejected {
                    reason: "the token keeps its modulus secret".to_owned(),
                }),
            }
        }
        Some(Attribute::KeyType(KeyType::EC)) => {
            let beside = one_key(session, uri, ObjectClass::PUBLIC_KEY, failed)?;
            let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
            match &attributes(beside, &wanted)?[..] {
                [Attribute::EcParams(curve), Attribute::EcPoint(point)] => {
                    PublicKey::from_spki(der::elliptic_public_key(curve, point))
                }
                _ => Err(KeyError::Rejected {
                    reason: "the token does not tell its public half".to_owned(),
                }),
            }
        }
        _ => Err(KeyError::Rejected {
            reason: "in tokens, RSA and ECDSA keys are supported".to_owned(),
        }),
    };
    made.map_err(|source| TokenError::Key {
        uri: uri.to_string(),
        source,
    })
}

impl TokenKey {
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs as [`PrivateKey::sign_with`] does. What the token gives is checked.
    pub(crate) fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = match (scheme, self.public.curve()) {
            (Scheme::RsaSha256, None) => self.raw(&Mechanism::Sha256RsaPkcs, message)?,
            (Scheme::RsaSha512, None) => self.raw(&Mechanism::Sha512RsaPkcs, message)?,
            (Scheme::EcdsaSha256, Some(Curve::P256)) => self.ecdsa(&SHA256, &SHA256, message)?,
            (Scheme::EcdsaSha512, Some(curve)) => {
                let length = match curve {
                    Curve::P256 => &SHA256,
                    Curve::P384 => &SHA384,
                    Curve::P521 => &SHA512,
                };
                self.ecdsa(&SHA512, length, message)?
            }
            _ => return Err(KeyError::WrongScheme { scheme }),
        };
        self.public.verify(scheme, message, &signature)?;
        Ok(signature)
    }

    /// Signs the leftmost bits of the hash, as many as `length` has (FIPS 186-5, 6.4.1).
    fn ecdsa(
        &self,
        hash: &'static Algorithm,
        length: &'static Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let digest = digest(hash, message);
        let leftmost = digest.as_ref().get(..length.output_len());
        let raw = self.raw(&Mechanism::Ecdsa, leftmost.unwrap_or_default())?;
        let (r, s) = raw.split_at(raw.len() / 2);
        Ok(der::pair(r, s))
    }

    fn raw(&self, mechanism: &Mechanism<'_>, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session
            .sign(mechanism, self.key, data)
            .map_err(|error| KeyError::Token {
                reason: error.to_string(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_the_standard_has_them() {
        let uri: TokenUri =
            "pkcs11:token=My%20token;object=image;id=%a1%02?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
                .parse()
                .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My token"));
        assert_eq!(uri.id, Some(vec![0xa1, 2]));
        assert_eq!(uri.module, Some("/usr/lib/x.so".into()));
        assert_eq!(uri.pin_source, Some("/run/pin".into()));
        assert_eq!(uri.name(), "image");
        let uri: TokenUri = "pkcs11:id=%a1%02;type=private".parse().unwrap();
        assert_eq!(uri.name(), "a102");
    }

    #[test]
    fn what_is_wrong_with_a_uri_is_said() {
        let errors: Vec<String> = [
            "pkcs11:token=a",
            "pkcs11:object",
            "pkcs11:object=a;colour=red",
            "pkcs11:object=a;type=public",
            "pkcs11:object=a;slot-id=x",
            "pkcs11:object=%ff",
            "pkcs11:object=a?pin-value=1234",
            "pkcs11:object=a;pin-value=1234;type=x",
            "pkcs11:object=a;colour=red?PIN-VALUE=1234",
            "file:a",
        ]
        .iter()
        .map(|text| text.parse::<TokenUri>().unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @"
        `pkcs11:token=a` names no key in a token: neither `object` nor `id` says which key
        `pkcs11:object` names no key in a token: `object` has no value
        `pkcs11:object=a;colour=red` names no key in a token: `colour` is not understood; known are token, serial, slot-id, object, id, type=private, and behind a `?` module-path and pin-source
        `pkcs11:object=a;type=public` names no key in a token: `type` is not understood; known are token, serial, slot-id, object, id, type=private, and behind a `?` module-path and pin-source
        `pkcs11:object=a;slot-id=x` names no key in a token: slot-id is no number
        `pkcs11:object=%ff` names no key in a token: object is no UTF-8
        `pkcs11:object=a` names no key in a token: a PIN on the command line can be read by everybody on the machine; use POLPO_KEY_PASSWORD or `pin-source`
        `pkcs11:object=a` names no key in a token: a PIN on the command line can be read by everybody on the machine; use POLPO_KEY_PASSWORD or `pin-source`
        `pkcs11:object=a;colour=red` names no key in a token: `colour` is not understood; known are token, serial, slot-id, object, id, type=private, and behind a `?` module-path and pin-source
        `file:a` names no key in a token: it does not begin with `pkcs11:`
        ");
    }

    #[test]
    fn a_library_that_is_none_is_named() {
        let uri: TokenUri = "pkcs11:object=a".parse().unwrap();
        let error = open_token(&uri, None, || None).unwrap_err();
        assert!(error.to_string().contains("POLPO_PKCS11_MODULE"), "{error}");
        let error = open_token(&uri, Some(Path::new("/nowhere.so")), || None).unwrap_err();
        assert!(
            error.to_string().starts_with("/nowhere.so: can't load it"),
            "{error}"
        );
    }
}
