//! Who the host is to NATS, other than by name and password: a `.creds` file of a server that knows
//! its accounts by signed tokens, and a token in the URL.

use std::{fs, path::Path};

use aether::clock;
use aether_tests::{
    host_process::{HostOptions, run_cli},
    nats_server::{NatsServer, Settings},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What `about` says of `subject`, signed by `by`: a JWT as NATS has them.
fn signed(by: &KeyPair, subject: &KeyPair, about: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": "test",
        "iat": clock::unix_ms() / 1000,
        "iss": by.public_key(),
        "sub": subject.public_key(),
        "nats": about,
    });
    let text = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(by.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

/// A server for which `store` is the folder of its streams. The harness, which is nobody to it,
/// only waits for its greeting.
fn server(store: &Path, extra: &str) -> NatsServer {
    let extra = format!("jetstream {{ store_dir: \"{}\" }}\n{extra}", store.display());
    NatsServer::start_with(Settings { jetstream: false, extra, ..Settings::default() }).unwrap()
}

/// A server of an operator with one account, and the user's credentials as `nsc` writes them.
fn operated(folder: &Path) -> (NatsServer, String) {
    let [operator, system, account, user] = [
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    ];
    let every = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1,
        "exports": -1, "wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let none = json!({"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true});
    let about = |limits| json!({"type": "account", "version": 2, "limits": limits});
    let extra = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}",
        signed(&operator, &operator, &json!({"type": "operator", "version": 2})),
        system.public_key(),
        system.public_key(),
        signed(&operator, &system, &about(none)),
        account.public_key(),
        signed(&operator, &account, &about(every)),
    );
    let about = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        signed(&account, &user, &about),
        user.seed().unwrap(),
    );
    (server(folder, &extra), credentials)
}

/// A host by `options` takes a command and still has it after a restart.
fn serves(options: &HostOptions) {
    let mut host = options.start().unwrap();
    let opened = host.client().command("bank/account/a", "open", &json!({"owner": "A"})).unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    host.kill().unwrap();
    host.restart().unwrap();
    let state = host.client().get("/v1/bank/account/a").unwrap().json().unwrap();
    assert_eq!(state["version"], 1);
}

#[test]
fn a_credentials_file_says_who_the_host_is() {
    let folder = TempDir::new().unwrap();
    let (server, credentials) = operated(&folder.path().join("store"));
    let file = folder.path().join("host.creds");
    fs::write(&file, &credentials).unwrap();
    let file = file.display().to_string();
    let options = HostOptions::bank().unwrap().nats(server.url());
    serves(&options.clone().args(["--nats-credentials", &file]));

    let asked = ["doctor", "--nats", &server.url(), "--nats-credentials", &file];
    let output = run_cli(folder.path(), asked).unwrap();
    assert!(output.status.success(), "{output:?}");

    // The credentials of a stranger, and none.
    let (_other, strange) = operated(&folder.path().join("other"));
    fs::write(&file, strange).unwrap();
    for options in [options.clone().args(["--nats-credentials", &file]), options] {
        let (status, said) = options.start_refused().unwrap();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.to_lowercase().contains("authorization"), "{said}");
        assert!(!said.contains("SU"), "a seed is shown:\n{said}");
    }
}

#[test]
fn a_credentials_file_that_is_none_is_named() {
    let folder = TempDir::new().unwrap();
    let server = NatsServer::start().unwrap();
    let file = folder.path().join("host.creds");
    fs::write(&file, "no credentials").unwrap();
    for file in [file, folder.path().join("missing.creds")] {
        let file = file.display().to_string();
        let options = HostOptions::bank().unwrap().nats(server.url());
        let (status, said) = options.args(["--nats-credentials", &file]).start_refused().unwrap();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(&file), "{said}");
    }
}

#[test]
fn a_token_in_the_url_says_who_the_host_is() {
    const TOKEN: &str = "not-to-be-shown";
    let folder = TempDir::new().unwrap();
    let extra = format!("authorization {{ token: \"{TOKEN}\" }}");
    let server = server(folder.path(), &extra);
    let url = |token: &str| server.url().replace("nats://", &format!("nats://{token}@"));
    serves(&HostOptions::bank().unwrap().nats(url(TOKEN)));
    let wrong = HostOptions::bank().unwrap().nats(url(&format!("{TOKEN}-at-all")));
    let (status, said) = wrong.start_refused().unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.to_lowercase().contains("authorization"), "{said}");
    assert!(!said.contains(TOKEN), "the token is shown:\n{said}");
}
