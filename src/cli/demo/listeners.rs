//! The ports of a demo, taken before anything is started that would have to be stopped again.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Where a demo answers.
pub(super) struct Listeners {
    pub(super) service: TcpListener,
    pub(super) admin: TcpListener,
}

impl Listeners {
    /// Takes the ports. Nobody asked for the port of the metrics unless `admin` is given: when
    /// it is taken, another one does as well.
    pub(super) async fn bind(
        service: SocketAddr,
        admin: Option<SocketAddr>,
        admin_default: SocketAddr,
    ) -> Result<Self, String> {
        let service = bind(service, "--listen").await?;
        let admin = match (admin, TcpListener::bind(admin_default).await) {
            (Some(admin), _) => bind(admin, "--admin-listen").await?,
            (None, Ok(listener)) => listener,
            (None, Err(_)) => {
                bind(SocketAddr::new(admin_default.ip(), 0), "--admin-listen").await?
            }
        };
        Ok(Self { service, admin })
    }
}

/// The address at which somebody on this machine reaches a listener.
pub(super) fn reachable(listener: &TcpListener) -> std::io::Result<SocketAddr> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    Ok(address)
}

async fn bind(address: SocketAddr, option: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let any = SocketAddr::new(address.ip(), 0);
            format!(
                "{address} is taken by another program: stop that one, or give another address, \
                 such as `{option} {any}` for any free port"
            )
        }
        ErrorKind::PermissionDenied => format!(
            "{address} needs rights that this user has not: give a port above 1023, such as \
             `{option} {}`",
            SocketAddr::new(address.ip(), 8080)
        ),
        _ => format!("cannot listen on {address} ({option}): {error}"),
    })
}
