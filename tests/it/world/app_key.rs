//! The App's private key, made anew for every run of the tests, and the tokens that it signs.

use std::sync::LazyLock;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_RSA_SHA256};

static KEY: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key can be made"));

/// The key in PEM, as GitHub gives it.
pub(crate) fn pem() -> String {
    KEY.serialize_pem()
}

/// Who signed a JSON web token (RFC 7519), where it was the App and the token is for at most ten minutes (rule A1).
pub(crate) fn issuer(token: &str) -> Option<u64> {
    let (signed, signature) = token.rsplit_once('.')?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public_key_raw());
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let lifetime = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
    let issuer = &claims["iss"];
    (lifetime <= 660).then(|| issuer.as_u64().or_else(|| issuer.as_str()?.parse().ok()))?
}
