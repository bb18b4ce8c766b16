//! What steps are told, so that ordinary clients find the proxy and trust it.
//!
//! The same while recording and replaying. A recipe's own variables come over these.

use std::collections::BTreeMap;

use super::authority::STORE_PASSWORD;
use crate::sandbox::PROXY_ADDRESS;

/// The folder with the authority's certificate inside. `/dev` is always the sandbox's own, whatever
/// the guest has at `/run` and however it is mounted.
pub const FOLDER: &str = "/dev/polpo";

/// The certificate as PEM, in [`FOLDER`].
pub(super) const CERTIFICATE: &str = "authority.pem";

/// The certificate as Java takes it, in [`FOLDER`].
pub(super) const TRUST_STORE: &str = "authority.jks";

/// The variables by which clients learn of the proxy and of its certificate, and those that keep
/// them from asking for what no build needs.
pub fn environment() -> BTreeMap<String, String> {
    let proxy = format!("http://{PROXY_ADDRESS}");
    let certificate = format!("{FOLDER}/{CERTIFICATE}");
    let (host, port) = (PROXY_ADDRESS.ip(), PROXY_ADDRESS.port());
    // `useSystemProperties` is for Maven 3.9, whose client goes by its own settings otherwise.
    let java = format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} \
         -Dhttps.proxyPort={port} -Dhttp.nonProxyHosts=localhost|127.* \
         -Daether.connector.http.useSystemProperties=true \
         -Djavax.net.ssl.trustStore={FOLDER}/{TRUST_STORE} -Djavax.net.ssl.trustStoreType=JKS \
         -Djavax.net.ssl.trustStorePassword={STORE_PASSWORD}"
    );
    let proxies = [
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "YARN_HTTPS_PROXY",
        "YARN_HTTP_PROXY",
        "all_proxy",
        "http_proxy",
        "https_proxy",
    ];
    let certificates = [
        "CARGO_HTTP_CAINFO",
        "CURL_CA_BUNDLE",
        "DENO_CERT",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "PERL_LWP_SSL_CA_FILE",
        "PIP_CERT",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "YARN_HTTPS_CA_FILE_PATH",
        "npm_config_cafile",
    ];
    let others = [
        ("NO_PROXY", "localhost,127.0.0.1,::1"),
        ("no_proxy", "localhost,127.0.0.1,::1"),
        ("JAVA_TOOL_OPTIONS", &java),
        // What these ask for has nothing to do with what is built, and changes by the day.
        ("CARGO_REGISTRIES_CRATES_IO_PROTOCOL", "sparse"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("npm_config_audit", "false"),
        ("npm_config_fund", "false"),
        ("npm_config_update_notifier", "false"),
    ];
    let proxies = proxies.map(|name| (name, proxy.as_str()));
    let certificates = certificates.map(|name| (name, certificate.as_str()));
    proxies
        .into_iter()
        .chain(certificates)
        .chain(others)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
