use std::fmt;

use base::Reporter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use store::{Authorization, Exchange, Method, Network, Payload, Refusal};
use url::Url;
use zeroize::Zeroizing;

use super::services::keeps_secrets;
use crate::json::{self, JsonError};

/// Tokens longer than this are not read; real ones have 1 to 4 KiB.
const MAX_LENGTH: usize = 64 << 10;

/// Whom tokens are for.
const AUDIENCE: &str = "sigstore";

/// Google's servers of metadata, which are asked over plain http: they are on the machine's own link.
const GOOGLE: &str = "http://metadata.google.internal";

/// A token of OpenID Connect that vouches for who signs. It is a secret: it never shows, and is
/// overwritten when it is done with.
pub struct IdentityToken {
    text: Zeroizing<String>,
    claims: Claims,
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityToken(..)")
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    aud: Audience,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    Nobody,
    One(String),
    Several(Vec<String>),
}

/// Where a token is from, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Given in a file or in `SIGSTORE_ID_TOKEN`, as GitLab does.
    Given,
    /// Asked of GitHub's runner.
    GitHub,
    /// Asked of Google's server of metadata.
    Google,
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenSource::Given => "the identity token",
            TokenSource::GitHub => "GitHub's identity token",
            TokenSource::Google => "Google's identity token",
        })
    }
}

/// There is no token that is of use. No message shows any of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The text is no token.
    #[error("{from} is no JSON web token: {reason}")]
    Shape {
        /// Where it is from.
        from: TokenSource,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is for somebody else.
    #[error("{from} is not for the audience `{AUDIENCE}`; ask for one that is")]
    Audience {
        /// Where it is from.
        from: TokenSource,
    },
    /// Who was asked for one did not answer.
    #[error("{from} was not to be had: {source}")]
    Asking {
        /// Where it would have been from.
        from: TokenSource,
        /// Why not.
        source: Refusal,
    },
    /// Who was asked for one gave none.
    #[error("{from} was not to be had: the server answered with {status}; {advice}")]
    Denied {
        /// Where it would have been from.
        from: TokenSource,
        /// The status.
        status: u16,
        /// What to do.
        advice: &'static str,
    },
    /// Who was asked for one answered with something else.
    #[error("{from} was not to be had: the server's answer is not its JSON: {source}")]
    Answer {
        /// Where it would have been from.
        from: TokenSource,
        /// What is wrong.
        source: JsonError,
    },
    /// GitHub's runner names no URL, or one that is not encrypted.
    #[error("ACTIONS_ID_TOKEN_REQUEST_URL is no https URL")]
    Place,
    /// Nothing vouches for anybody.
    #[error(
        "there is no identity token: name a file with --identity-token-file, set SIGSTORE_ID_TOKEN, \
         or sign in a job of GitHub (`permissions: id-token: write`), GitLab (`id_tokens: \
         SIGSTORE_ID_TOKEN: aud: sigstore`) or on Google's machines"
    )]
    Nothing,
}

impl IdentityToken {
    /// Reads a token. Its signature is the certificate authority's to check.
    ///
    /// # Errors
    /// It is no JSON web token, or for another audience than Sigstore.
    pub fn new(text: &str, from: TokenSource) -> Result<IdentityToken, TokenError> {
        let wrong = |reason| TokenError::Shape { from, reason };
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            return Err(wrong("it is longer than 64 KiB"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [_, claims, _] = parts.as_slice() else {
            return Err(wrong("it has not three parts"));
        };
        let claims = URL_SAFE_NO_PAD
            .decode(claims.trim_end_matches('='))
            .map_err(|_| wrong("its second part is no base64url"))?;
        let claims: Claims = json::decode(&claims, MAX_LENGTH)
            .map_err(|_| wrong("its claims are not the JSON they have to be"))?;
        if claims.sub.is_empty() {
            return Err(wrong("it names no subject"));
        }
        let for_us = match &claims.aud {
            Audience::Nobody => false,
            Audience::One(name) => name == AUDIENCE,
            Audience::Several(names) => names.iter().any(|name| name == AUDIENCE),
        };
        match for_us {
            true => Ok(IdentityToken {
                text: Zeroizing::new(text.to_owned()),
                claims,
            }),
            false => Err(TokenError::Audience { from }),
        }
    }

    /// Looks for a token where jobs and machines of GitHub, GitLab and Google have it. `variable`
    /// reads the environment.
    ///
    /// # Errors
    /// [`TokenError::Nothing`] when there is none.
    pub async fn ambient(
        variable: impl Fn(&str) -> Option<String>,
        network: &Network,
        reporter: &dyn Reporter,
    ) -> Result<IdentityToken, TokenError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(text) = set("SIGSTORE_ID_TOKEN") {
            return IdentityToken::new(&Zeroizing::new(text), TokenSource::Given);
        }
        if let Some(place) = set("ACTIONS_ID_TOKEN_REQUEST_URL") {
            let secret = set("ACTIONS_ID_TOKEN_REQUEST_TOKEN").map(Zeroizing::new);
            return github(&place, secret, network, reporter).await;
        }
        let google = set("GCE_METADATA_HOST").map(|host| format!("http://{host}"));
        let on_google = set("K_SERVICE").is_some() || set("GOOGLE_CLOUD_PROJECT").is_some();
        match google.or(on_google.then(|| GOOGLE.to_owned())) {
            Some(server) => google_token(&server, network, reporter).await,
            None => Err(TokenError::Nothing),
        }
    }

    /// What the key has to sign to prove that it is the one who holds the token: the address of
    /// e-mail where there is one, else the subject.
    pub(super) fn challenge(&self) -> &str {
        self.claims.email.as_deref().unwrap_or(&self.claims.sub)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

async fn github(
    place: &str,
    secret: Option<Zeroizing<String>>,
    network: &Network,
    reporter: &dyn Reporter,
) -> Result<IdentityToken, TokenError> {
    let from = TokenSource::GitHub;
    let mut url = Url::parse(place).map_err(|_| TokenError::Place)?;
    if !keeps_secrets(&url) {
        return Err(TokenError::Place);
    }
    url.query_pairs_mut().append_pair("audience", AUDIENCE);
    let authorization = secret.and_then(|secret| Authorization::bearer(&secret));
    let advice = "give the job `permissions: id-token: write`";
    let body = ask(
        &url,
        authorization.as_ref(),
        &[],
        from,
        advice,
        network,
        reporter,
    )
    .await?;
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| TokenError::Answer {
        from,
        source: error.into(),
    })?;
    IdentityToken::new(&Zeroizing::new(answer.value), from)
}

async fn google_token(
    server: &str,
    network: &Network,
    reporter: &dyn Reporter,
) -> Result<IdentityToken, TokenError> {
    let from = TokenSource::Google;
    let path = "computeMetadata/v1/instance/service-accounts/default/identity";
    let url = Url::parse(&format!("{server}/{path}?audience={AUDIENCE}&format=full"));
    let url = url.map_err(|_| TokenError::Nothing)?;
    let headers = [("metadata-flavor", "Google".to_owned())];
    let advice = "the machine needs a service account";
    let body = ask(&url, None, &headers, from, advice, network, reporter).await?;
    let text = std::str::from_utf8(&body).map_err(|_| TokenError::Shape {
        from,
        reason: "it is no text",
    })?;
    IdentityToken::new(text, from)
}

async fn ask(
    url: &Url,
    authorization: Option<&Authorization>,
    headers: &[(&'static str, String)],
    from: TokenSource,
    advice: &'static str,
    network: &Network,
    reporter: &dyn Reporter,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let question = Exchange {
        name: "the identity token",
        method: Method::Get,
        url,
        headers,
        authorization,
        payload: Payload::Nothing,
        limit: MAX_LENGTH as u64,
        again: true,
    };
    let answered = network
        .exchange(&question, &|_| (), reporter)
        .await
        .map_err(|source| TokenError::Asking { from, source })?;
    match answered.is_success() {
        true => Ok(Zeroizing::new(answered.body)),
        false => Err(TokenError::Denied {
            from,
            status: answered.status,
            advice,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.AAAA", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(text: &str) -> Result<IdentityToken, String> {
        IdentityToken::new(text, TokenSource::Given).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens() {
        let mail = read(&token(
            r#"{"sub":"1","email":"a@example.com","aud":"sigstore"}"#,
        ))
        .unwrap();
        assert_eq!(mail.challenge(), "a@example.com");
        let job = read(&token(r#"{"sub":"repo:a/b","aud":["x","sigstore"]}"#)).unwrap();
        assert_eq!(job.challenge(), "repo:a/b");
        assert_eq!(format!("{job:?}"), "IdentityToken(..)");
        for (text, reason) in [
            (
                token(r#"{"sub":"1","aud":"x"}"#),
                "not for the audience `sigstore`",
            ),
            (token(r#"{"sub":"1"}"#), "not for the audience"),
            (token(r#"{"aud":"sigstore"}"#), "names no subject"),
            (token("secret"), "claims are not"),
            ("secret".to_owned(), "not three parts"),
            ("a.secret!.b".to_owned(), "no base64url"),
            ("x".repeat(MAX_LENGTH + 1), "longer than"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
