//! Who has the gateway's port, as far as `/proc` tells a process without privileges.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Where it listens.
    pub address: SocketAddr,
    /// The user that it belongs to.
    pub uid: u32,
}

/// One sentence about a port that cannot be bound: which, who has it, what to do.
pub fn describe(port: u16) -> String {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let owners: Vec<Owner> = tables.iter().flat_map(|table| listeners(table, port)).collect();
    let mut text = format!("port {port} on 127.0.0.1 is taken by another process");
    for (index, owner) in owners.iter().enumerate() {
        let before = if index == 0 { " (" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}listening on {}, user id {}", owner.address, owner.uid);
    }
    if !owners.is_empty() {
        text.push(')');
    }
    let _ = write!(
        text,
        "; find it on the node with: ss -ltnp sport = :{port}, and stop it or give regcache another gateway port"
    );
    text
}

/// The sockets in a table of `/proc/net` that listen on `port`.
fn listeners(table: &str, port: u16) -> Vec<Owner> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, uid) = (fields.get(1)?, fields.get(3)?, fields.get(7)?);
        let address = address(local)?;
        let listens = *state == "0A" && address.port() == port;
        let uid = uid.parse().ok()?;
        listens.then_some(Owner { address, uid })
    };
    table.lines().skip(1).filter_map(parse).collect()
}

/// `0100007F:53FC`: the address in words of the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let bytes: Vec<u8> = hex::decode(host).ok()?;
    let words = bytes.chunks(4).map(|word| <[u8; 4]>::try_from(word).ok());
    let ordered: Vec<u8> = words
        .map(|word| word.map(|word| u32::from_be_bytes(word).to_ne_bytes()))
        .collect::<Option<Vec<_>>>()?
        .concat();
    let ip = match ordered.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ordered).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ordered).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_listener_is_found() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let local = listener.local_addr().unwrap();
            let text = describe(local.port());
            assert!(text.contains(&format!("listening on {local}, user id ")), "{text}");
        }
    }

    #[test]
    fn a_port_of_nobody_is_still_a_sentence() {
        assert_eq!(
            describe(1),
            "port 1 on 127.0.0.1 is taken by another process; find it on the node with: ss -ltnp sport = :1, and stop \
             it or give regcache another gateway port"
        );
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert_eq!(
            listeners("header\nx\n 0: zz:1 b 0A d e f 0 h\n 0: 01:0001 b 0A d e f 0 h", 1),
            []
        );
    }
}
