//! The image, as far as it can be looked at without building it: what goes in is there, who runs
//! is nobody, and its health check finds out whether the service is alive.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use tillside::config::Config;
use tillside::http::admin::Draining;
use tillside::till::Till;
use tokio::net::TcpListener;

use super::file;
use crate::support::service::{TestService, operators};

/// Every instruction with its arguments, lines that go on joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = file("deploy/Containerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let text = lines.join("\n").replace("\\\n", " ");
    let instruction = |line: &str| {
        let (name, arguments) = line.split_once(' ').expect("an instruction has arguments");
        (name.to_owned(), arguments.trim().to_owned())
    };
    text.lines().filter(|line| !line.is_empty()).map(instruction).collect()
}

/// The arguments of one kind of instruction.
fn all(name: &str) -> Vec<String> {
    let those = instructions().into_iter().filter(|(found, _)| found == name);
    those.map(|(_, arguments)| arguments).collect()
}

#[test]
fn the_image_is_built_from_debian_with_the_toolchain_of_the_sources() {
    let from = ["rust:${RUST}-slim-${DEBIAN} AS build", "debian:${DEBIAN}-slim"];
    assert_eq!(all("FROM"), from);
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(all("ARG").contains(&format!("RUST={version}")), "Cargo.toml asks for {version}");
}

#[test]
fn what_the_image_copies_is_there_and_let_through() {
    let ignored = file(".containerignore");
    let let_through: Vec<&str> = ignored.lines().filter_map(|it| it.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "what is not named stays outside");
    let mut copied = Vec::new();
    for arguments in all("COPY").iter().filter(|it| !it.starts_with("--from")) {
        let mut words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        words.pop().expect("where to");
        copied.extend(words);
    }
    for path in &copied {
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
        assert!(there && let_through.contains(&&**path), "{path} cannot be copied");
    }
    assert_eq!(copied.len(), let_through.len(), "{let_through:?} are let through");
    // cargo reads every member of the workspace, whatever it builds.
    let manifest: toml::Table = file("Cargo.toml").parse().expect("TOML");
    let members = manifest["workspace"]["members"].as_array().expect("a list").iter();
    let members = members.filter_map(toml::Value::as_str).filter(|member| *member != ".");
    for needed in members.chain(["Cargo.toml", "Cargo.lock", "src", "migrations"]) {
        assert!(copied.iter().any(|path| path == needed), "{needed} is not copied");
    }
    // Nor does it take a manifest with a target that it has to look for and cannot find.
    for (kind, folder) in
        [("bin", "src/bin"), ("bench", "benches"), ("test", "tests"), ("example", "examples")]
    {
        let targets = manifest.get(kind).and_then(toml::Value::as_array);
        let looked_for = targets.into_iter().flatten().filter(|it| it.get("path").is_none());
        for name in looked_for.filter_map(|it| it.get("name").and_then(toml::Value::as_str)) {
            let file = format!("{folder}/{name}.rs");
            let is_there = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).exists();
            let root = folder.split('/').next().unwrap_or_default();
            let is_copied = copied.iter().any(|path| path == root);
            assert!(is_there && is_copied, "{file} is looked for, and is not copied");
        }
    }
}

#[test]
fn the_image_runs_as_nobody_and_listens_to_the_outside() {
    assert_eq!(all("USER"), ["65532:65532"]);
    assert_eq!(all("ENTRYPOINT"), [r#"["/usr/local/bin/tillside"]"#]);
    assert_eq!(all("CMD"), [r#"["serve"]"#]);
    let environment = all("ENV").join(" ");
    let variables = environment.split_whitespace().map(|it| it.split_once('=').expect("a value"));
    let variables: BTreeMap<&str, &str> = variables.collect();
    let config = Config::from_sources(None, |name| variables.get(name).map(|it| (*it).to_owned()));
    let config = config.expect("good settings");
    assert!(config.http.listen.ip().is_unspecified(), "the loopback is the container's own");
    let ports = [config.http.listen.port(), config.http.admin_listen.port()];
    assert_eq!(all("EXPOSE"), [ports.map(|port| port.to_string()).join(" ")]);
    assert_eq!(config.log.format, "json");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_who_is_alive() {
    let check = all("HEALTHCHECK").join(" ");
    let (_, command) = check.split_once(" CMD ").expect("a command");
    let command: Value = serde_json::from_str(command).expect("JSON, so that no shell is needed");
    let words = command.as_array().expect("words").iter().map(|it| it.as_str().expect("a text"));
    let words: Vec<String> = words.map(str::to_owned).collect();
    assert!(words[2].contains("/127.0.0.1/9090 "), "{words:?}");
    let alive = async |port: u16| {
        let script = words[2].replace("/9090 ", &format!("/{port} "));
        let mut check = Command::new(&words[0]);
        check.args([&words[1], &script]).stderr(Stdio::null());
        let status = tokio::task::spawn_blocking(move || check.status()).await;
        status.expect("it does not panic").expect("bash is there").success()
    };

    let service = TestService::start().await;
    let draining = Draining::default();
    let operators = operators(&service.replica.app, draining.clone()).await;
    let port = port_of(&operators);
    assert!(alive(port).await);
    draining.begin();
    assert!(alive(port).await, "whoever stops is not to be killed");
    // The listener of tills answers 404 under this address, and is not the one to ask.
    assert!(!alive(port_of(&service.till())).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    assert!(!alive(port).await);
}

/// Where a till sends what it signs.
fn port_of(till: &Till) -> u16 {
    let request = till.sign(Method::GET, "/livez", "".into(), Timestamp::now());
    request.expect("a good path").uri().port_u16().expect("tests listen on any port")
}
