//! `kagero web`: a tiny web server for the demo, answering who it is.
//!
//! Deliberately not a file server: one line on every path, so that one sees which pod answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::{App, HttpResponse, HttpServer, web as routes};

/// Serves on all addresses, IPv6 included where the host has it; port 0 picks a free one. Prints what it bound, and
/// ends on SIGTERM.
pub async fn web(port: u16) -> io::Result<()> {
    let name = name();
    let server = HttpServer::new(move || {
        let name = name.clone();
        App::new().default_service(routes::to(move || {
            let body = format!("{name}\n");
            async move { HttpResponse::Ok().content_type("text/plain").body(body) }
        }))
    });
    let server = server.workers(1).shutdown_timeout(1);
    let server = server.bind(bind_addresses(port).as_slice())?;
    for address in server.addrs() {
        super::print(format_args!("listening on http://{address}\n"));
    }
    server.run().await
}

/// `::` serves IPv4 too; a host without IPv6 has no `if_inet6`.
fn bind_addresses(port: u16) -> Vec<SocketAddr> {
    let any: IpAddr = if std::path::Path::new("/proc/net/if_inet6").exists() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    vec![SocketAddr::new(any, port)]
}

/// The pod's name (`HOSTNAME`), or the host's.
fn name() -> String {
    let host = || {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    };
    std::env::var("HOSTNAME").unwrap_or_else(|_| host())
}
