//! Ports of this machine for pods.
//!
//! A port is reserved before its program listens on it. Until then nobody else on the machine would see that it is
//! spoken for, so the UDP port of the same number is held as a sign to others like us.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ports that systems give to outgoing connections, so that none of these takes a pod's port.
const RANGE: Range<u16> = 20_000..28_000;

/// Hands out ports, each to one pod at a time.
#[derive(Debug)]
pub(super) struct Ports {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u16,
    taken: BTreeMap<u16, (String, UdpSocket)>,
}

impl Ports {
    pub(super) fn new() -> Self {
        // two instances on one machine begin in different places
        let step = u16::try_from(std::process::id() % 80).expect("less than 80") * 100;
        Self { state: Mutex::new(State { next: RANGE.start + step, taken: BTreeMap::new() }) }
    }

    /// A port on which nobody listens, for that pod until it is given back.
    pub(super) fn take(&self, pod: &str) -> Option<u16> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in RANGE {
            let port = state.next;
            state.next = if port + 1 == RANGE.end { RANGE.start } else { port + 1 };
            if let Ok(sign) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
                && is_free(port)
            {
                state.taken.insert(port, (pod.to_owned(), sign));
                return Some(port);
            }
        }
        None
    }

    /// Gives back all ports of a pod.
    pub(super) fn give_back(&self, pod: &str) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .taken
            .retain(|_, (holder, _)| holder != pod);
    }
}

fn is_free(port: u16) -> bool {
    [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
        .iter()
        .all(|address| TcpListener::bind((*address, port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_while_somebody_listens() {
        let ports = Ports::new();
        let first = ports.take("a").unwrap();
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.state.lock().unwrap().next));
        let second = ports.take("b").unwrap();
        assert_ne!(first, second);
        if let Ok(other) = other {
            assert_ne!(second, other.local_addr().unwrap().port());
        }
        let neighbour = Ports::new();
        neighbour.state.lock().unwrap().next = first;
        assert_ne!(neighbour.take("c").unwrap(), first, "others see that it is spoken for");
        ports.give_back("a");
        assert_eq!(ports.state.lock().unwrap().taken.len(), 1);
    }
}
