//! The service between two lines that do harm: one to its tills, one to PostgreSQL. Whatever
//! befalls a request, a till that asks until it is answered has its sale recorded, once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::StatusCode;
use tillside::config::Secret;
use tillside::till::Till;
use tillside_load::proxy::{Endpoint, Faults, Protocol, Proxy};

use crate::support::flow::audit;
use crate::support::service::{TestService, body, card, swipe};

const SOCKET: &str = ".s.PGSQL.5432";
const SALES_MIN: i64 = 100;

/// A line to the database of a connection string, and the connection string of the line.
async fn line_to_database(url: &Secret, folder: &Path, seed: u64) -> (Proxy, Secret) {
    let (host, rest) = url
        .reveal()
        .strip_prefix("host='")
        .and_then(|url| url.split_once('\''))
        .expect("private servers have this form of URL");
    let upstream = Endpoint::Unix(PathBuf::from(host).join(SOCKET));
    let listen = Endpoint::Unix(folder.join(SOCKET));
    let proxy = Proxy::start(listen, upstream, Protocol::Postgres, seed).await;
    let url = Secret::new(format!("host='{}'{rest}", folder.display()));
    (proxy.expect("the folder is new"), url)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_harmful_lines_every_sale_is_recorded_once() {
    let service = TestService::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (inner, url) = line_to_database(&service.config.database.url, folder.path(), 11).await;
    let replica = service.replica_with(|config| config.database.url = url).await;
    let address: SocketAddr =
        replica.base_url["http://".len()..].parse().expect("an address and a port");
    let any_port = Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let outer = Proxy::start(any_port, Endpoint::Tcp(address), Protocol::Http, 12).await;
    let outer = outer.expect("loopback has free ports");
    let Endpoint::Tcp(address) = outer.address() else { panic!("it was told to use TCP") };
    let (keyid, secret) = replica.key("0367", "03");
    let till = Till::new(&format!("http://{address}"), keyid, secret).expect("well-formed");

    // A connection is only good once its many first statements are: harm them seldom.
    inner.set_faults(Faults {
        cut_before_request: 0.01,
        cut_after_request: 0.02,
        slow: 0.01,
        reset: 0.01,
        ..Faults::default()
    });
    outer.set_faults(Faults {
        cut_before_request: 0.05,
        cut_after_request: 0.1,
        slow: 0.05,
        reset: 0.05,
        duplicate: 0.2,
        ..Faults::default()
    });
    let mut sales = 0;
    while sales < SALES_MIN || [&inner, &outer].into_iter().any(has_not_done_all) {
        let sale = swipe(sales, Some(&card(1)), 100).to_string();
        sales += 1;
        let receipt = loop {
            match till.post("/v1/swipes", sale.clone()).await {
                Ok(answer) if answer.status.is_success() => break answer,
                Ok(answer) => assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE),
                Err(_) => {}
            }
        };
        assert_eq!(body(&receipt)["points"]["balance"], sales);
    }
    assert_eq!(outer.counts()["duplicate_differs"], 0);
    assert_eq!(service.count("SELECT count(*) FROM swipe").await, sales);
    audit(&service).await;
}

/// Whether a fault that was asked for has not happened yet.
fn has_not_done_all(proxy: &Proxy) -> bool {
    let asked = |fault: &str| !["black_hole", "delay", "duplicate_differs"].contains(&fault);
    proxy.counts().into_iter().any(|(fault, count)| asked(fault) && count == 0)
}
