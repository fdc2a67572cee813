//! The demo as a person starts it: the built binary in a folder of its own, from nothing, stopped
//! and started again.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tillside::till::Till;

use crate::support::database::{connect, launcher};

/// A first start on a busy machine, with everything unoptimised.
const READY: Duration = Duration::from_secs(120);
/// From the signal until nothing is left.
const STOPPED: Duration = Duration::from_secs(5);

/// A demo that runs, and is killed when a test fails.
struct Demo {
    process: Child,
    folder: PathBuf,
    output: PathBuf,
}

impl Demo {
    /// Starts it and waits until it says that it is ready.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let output = folder.with_extension("out");
        let mut command = demo(folder);
        command.args(arguments).stdout(File::create(&output).expect("a file"));
        let process = command.stderr(Stdio::null()).spawn().expect("spawned");
        let mut demo = Self { process, folder: folder.to_owned(), output };
        let begun = Instant::now();
        while !demo.said().contains("Ctrl-C stops everything") {
            assert!(begun.elapsed() < READY, "not ready in time");
            let ended = demo.process.try_wait().expect("it is our child");
            assert!(ended.is_none(), "it ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        demo
    }

    /// What it has printed.
    fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("it prints there")
    }

    /// What it tells programs.
    fn file(&self) -> Value {
        let text = fs::read_to_string(self.folder.join("demo.json")).expect("written when ready");
        serde_json::from_str(&text).expect("JSON")
    }

    fn till(&self) -> Till {
        let file = self.file();
        let terminal = &file["terminals"][0];
        let secret = decoded(&terminal["secret_base64"]);
        Till::new(text(&file["base_url"]), text(&terminal["keyid"]), secret).expect("a terminal")
    }

    /// Points on a card.
    async fn balance(&self, card: &str) -> i64 {
        let answer = self.till().get(&format!("/v1/cards/{card}")).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::OK);
        let card: Value = serde_json::from_slice(&answer.body).expect("JSON");
        card["points"]["balance"].as_i64().expect("a number")
    }

    /// Sends a signal and waits until it and its PostgreSQL are gone.
    fn stop(mut self, signal: Signal) -> ExitStatus {
        let server = postmaster(&self.folder);
        let begun = Instant::now();
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("sent");
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                break status;
            }
            assert!(begun.elapsed() < STOPPED, "the demo has not stopped");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(!Path::new(&format!("/proc/{server}")).exists(), "its PostgreSQL is left");
        status
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(launcher());
    command.arg("demo").arg("--dir").arg(folder).args(["--listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", "127.0.0.1:0"]);
    command
}

fn temporary() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    // Temporary folders are closed to others; the server may run as another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
    folder
}

fn postmaster(folder: &Path) -> u32 {
    let file = folder.join("postgres/data/postmaster.pid");
    let text = fs::read_to_string(file).expect("a server runs");
    text.lines().next().expect("a line").parse().expect("a number")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn decoded(base64: &Value) -> [u8; 32] {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text(base64)).expect("base64");
    bytes.try_into().expect("32 bytes")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn swipe(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(launcher());
    command.arg("swipe").arg("--demo").arg(folder).args(arguments).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_swipe_and_the_same_demo_after_a_stop() {
    let temporary = temporary();
    // A space, so that what is printed for pasting has to be quoted.
    let folder = temporary.path().join("my demo");
    let demo = Demo::start(&folder, &[]);

    let file = demo.file();
    for name in ["demo.json", "key-encryption-key"] {
        let mode = fs::metadata(folder.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let count = |list: &str| file[list].as_array().expect("a list").len();
    assert_eq!(count("terminals"), 8);
    assert_eq!(count("tokens"), 4);
    assert!(count("cards") > 200 && count("skus") > 250, "{} cards", count("cards"));
    assert_eq!(file["currency"], "USD");
    for (list, field) in
        [("terminals", "store_id"), ("terminals", "workstation_id"), ("skus", "name")]
    {
        assert!(file[list][0][field].is_string(), "{list}: {field}");
    }
    assert!(file["skus"][0]["price_minor"].is_i64());
    assert!(Path::new(text(&file["key_encryption_key_file"])).is_file());
    let database = connect(text(&file["database_url"])).await;
    let issued = "SELECT count(*), count(DISTINCT offer_no) FROM coupon WHERE reason > 0";
    let issued = database.query_one(issued, &[]).await.expect("a database");
    let (coupons, offers): (i64, i64) = (issued.get(0), issued.get(1));
    assert!(coupons > 200 && offers > 6, "{coupons} coupons of {offers} offers");
    let used = "SELECT count(*), count(*) FILTER (WHERE over_value) FROM coupon WHERE state = 1";
    let used = database.query_one(used, &[]).await.expect(used);
    let (used, over_value): (i64, i64) = (used.get(0), used.get(1));
    assert!(used > 50 && over_value == 0, "{used} redeemed, {over_value} for too much");

    let members = "SELECT count(*), count(DISTINCT offer_no), count(*) FILTER (WHERE over_limit)
                   FROM coupon WHERE actor = 'automatic'";
    let members = database.query_one(members, &[]).await.expect(members);
    let (uses, offers, over_limit): (i64, i64, i64) =
        (members.get(0), members.get(1), members.get(2));
    assert!(uses > 500 && offers == 6 && over_limit < 9, "{uses} of {offers}, {over_limit} over");

    let card = text(&file["cards"][0]);
    let before = demo.balance(card).await;
    let page = demo.said();
    let pasted = page.lines().find(|line| line.contains(" swipe ")).expect("a line to paste");
    let pasted = Command::new("sh").arg("-c").arg(pasted).current_dir("/").output().expect("sh");
    assert!(pasted.status.success(), "{}", said(&pasted));
    let receipt = said(&pasted);
    assert!(receipt.contains("Points earned"), "{receipt}");
    assert!(receipt.contains("Bananas 0.59 a pound with your card"), "{receipt}");
    assert!(receipt.lines().all(|line| line.chars().count() <= 42), "{receipt}");
    let after = demo.balance(card).await;
    assert!(after > before, "{before}, then {after}");

    let status = demo.stop(Signal::SIGTERM);
    assert!(status.success(), "{status}");

    let again = Demo::start(&folder, &[]);
    let second = again.file();
    for same in ["terminals", "tokens", "cards", "skus"] {
        assert_eq!(second[same], file[same], "{same}");
    }
    assert_eq!(again.balance(card).await, after);
    let status = again.stop(Signal::SIGINT);
    assert!(status.success(), "{status}");

    // The keys went with the file; the data did not.
    fs::remove_file(folder.join("demo.json")).expect("removed");
    let third = Demo::start(&folder, &[]);
    assert_eq!(third.file()["cards"], file["cards"]);
    assert_eq!(third.balance(card).await, after);
    let offline = ["--card", card, "--return", "10001=0.5", "--sku", "10001", "--offline"];
    let output = swipe(&folder, &offline);
    assert!(output.status.success(), "{}", said(&output));
    let mut verify = Command::new(launcher());
    verify.arg("verify").env("TILLSIDE_DATABASE_URL", text(&third.file()["database_url"]));
    let verified = verify.output().expect("it runs");
    assert!(verified.status.success(), "{}", said(&verified));
    third.stop(Signal::SIGTERM);
}

#[test]
fn who_comes_second_is_told_what_to_do() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let first = Demo::start(&folder, &["--bare"]);
    assert_eq!(first.file()["terminals"], Value::Array(Vec::new()));

    let second = demo(&folder).output().expect("it runs");
    assert!(!second.status.success());
    let process = first.process.id().to_string();
    for word in ["is running in", process.as_str(), "--dir"] {
        assert!(said(&second).contains(word), "{word}: {}", said(&second));
    }

    let other = temporary.path().join("other");
    let file = first.file();
    let taken = text(&file["base_url"]).trim_start_matches("http://");
    let mut command = Command::new(launcher());
    command.arg("demo").arg("--dir").arg(&other).args(["--listen", taken]);
    let third = command.output().expect("it runs");
    assert!(!third.status.success());
    for word in [taken, "is taken", "--listen 127.0.0.1:0"] {
        assert!(said(&third).contains(word), "{word}: {}", said(&third));
    }
    assert!(!other.join("postgres").exists(), "nothing was started");

    let swipe = swipe(&folder, &["--no-card", "--sku", "1"]);
    assert!(said(&swipe).contains("--bare"), "{}", said(&swipe));
    first.stop(Signal::SIGTERM);
}

#[test]
fn seeding_that_was_cut_short_is_finished_by_the_next_start() {
    let temporary = temporary();
    let folder = temporary.path().join("demo");
    let mut command = demo(&folder);
    let mut cut = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawned");
    let begun = Instant::now();
    while !folder.join("seeding-for").exists() {
        assert!(begun.elapsed() < READY, "seeding has not begun");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(cut.id().cast_signed()), Signal::SIGTERM).expect("sent");
    assert!(cut.wait().expect("it is our child").success());
    assert!(!folder.join("demo.json").exists(), "it was not ready");

    let demo = Demo::start(&folder, &[]);
    assert!(demo.said().contains("baskets of the last 12 weeks"), "{}", demo.said());
    assert!(!folder.join("seeding-for").exists());
    demo.stop(Signal::SIGTERM);
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).expect("part of the project");
    let shown = format!("```python\n{}```\n", read("examples/python/post_swipe.py"));
    assert!(read("README.md").contains(&shown), "paste examples/python/post_swipe.py into README");
}
