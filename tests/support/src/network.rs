//! A box's own network: a namespace of the kernel that one cable joins to the host, and the counters of that cable.
//! The cable is as fast as a good uplink, and carries every TCP segment by itself, so that headers and acknowledgements
//! are counted as on a real link.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::disk::assert_root_user;
use crate::process::Finished;
use crate::program::{run, system};
use crate::waiting::wait_for;

/// A faster link acknowledges fewer segments: a receiver that sees many at once answers them together.
const RATE: &str = "20mbit";
/// Of the frames' headers, which an operator's link does not have.
const ETHERNET_BYTES: u64 = 14;
/// Subnets of four addresses in 198.18.0.0/15, which is reserved for measurements.
const SUBNETS: u32 = 1 << 15;

/// What passed a cable in both directions since it was laid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// As the interface counts them, with Ethernet's headers.
    pub bytes: u64,
    pub frames: u64,
}

impl Counted {
    /// What an operator counts: IP packets. A modem's interface has no headers below them.
    #[must_use]
    pub fn ip_bytes(self) -> u64 {
        self.bytes - self.frames * ETHERNET_BYTES
    }

    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, frames: self.frames - before.frames }
    }
}

/// Removed when it is dropped.
#[derive(Debug)]
pub struct Network {
    namespace: String,
    /// The cable's end on the host.
    outside: String,
    host: Ipv4Addr,
    inside_hardware: String,
}

impl Network {
    /// The cable's end in the box.
    pub const INTERFACE: &str = "wwan0";

    /// # Panics
    /// Without root or the program `ip`.
    #[must_use]
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert_root_user();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let namespace = format!("kitchen-{process}-{number}");
        let outside = format!("kt{process}-{number}");
        let known = ip(&["-4", "address"]).expect_code(0).stdout;
        let mut subnet = process.wrapping_mul(8).wrapping_add(number) % SUBNETS;
        let address = |subnet: u32, last: u32| Ipv4Addr::from(0xc612_0000 + subnet * 4 + last);
        while known.contains(&format!("{}/30", address(subnet, 1))) {
            subnet = (subnet + 1) % SUBNETS;
        }
        let (host, box_address) = (address(subnet, 1), format!("{}/30", address(subnet, 2)));
        let mut network = Self { namespace, outside, host, inside_hardware: String::new() };
        let (name, outside, inside) = (network.namespace.as_str(), network.outside.as_str(), Self::INTERFACE);
        let done = |arguments: &[&str]| drop(ip(arguments).expect_code(0));
        done(&["netns", "add", name]);
        // Else neighbour discovery of IPv6 is counted too.
        for setting in ["all", "default"] {
            let setting = format!("net.ipv6.conf.{setting}.disable_ipv6");
            let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
            let script = format!("[ ! -e {0} ] || echo 1 > {0}", path.display());
            done(&["netns", "exec", name, "sh", "-c", &script]);
        }
        done(&["link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name]);
        let without_ipv6 = Path::new("/proc/sys/net/ipv6/conf").join(outside).join("disable_ipv6");
        if without_ipv6.exists() {
            fs::write(&without_ipv6, "1").expect("root may set it");
        }
        done(&["address", "add", &format!("{host}/30"), "dev", outside]);
        done(&["-n", name, "address", "add", &box_address, "dev", inside]);
        done(&["link", "set", outside, "gso_max_segs", "1"]);
        done(&["-n", name, "link", "set", inside, "gso_max_segs", "1"]);
        done(&["-n", name, "link", "set", "lo", "up"]);
        done(&["link", "set", outside, "up"]);
        done(&["-n", name, "link", "set", inside, "up"]);
        done(&["-n", name, "route", "add", "default", "via", &host.to_string()]);
        let shape = ["root", "tbf", "rate", RATE, "burst", "16kb", "latency", "400ms"];
        for place in [&["qdisc", "add", "dev", outside][..], &["-n", name, "qdisc", "add", "dev", inside]] {
            let mut command = Command::new(system("tc", "iproute2"));
            let _ = run(command.args(place).args(shape)).expect_code(0);
        }
        // A modem asks nobody for hardware addresses.
        let link = ip(&["-n", name, "link", "show"]).expect_code(0).stdout;
        let hardware = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        network.inside_hardware = hardware.expect("a cable's end has a hardware address").to_owned();
        let outside_hardware = fs::read_to_string(network.statistics().join("../address")).expect("the cable is there");
        let neighbour = [&host.to_string(), "lladdr", outside_hardware.trim(), "dev", inside, "nud", "permanent"];
        done(&[&["-n", name, "neighbour", "replace"][..], &neighbour].concat());
        network.introduce();
        network
    }

    /// The host as the box reaches it.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// The name that `ip netns` knows.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `program` within the box's network; arguments are added by the caller.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        within(&self.namespace, program)
    }

    /// What has passed until now.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let folder = self.statistics();
        let counter = |name: &str| -> u64 {
            let text = fs::read_to_string(folder.join(name)).expect("the cable is there");
            text.trim().parse().expect("a counter is a number")
        };
        Counted {
            bytes: counter("rx_bytes") + counter("tx_bytes"),
            frames: counter("rx_packets") + counter("tx_packets"),
        }
    }

    /// What has passed when nothing passes for `pause`.
    #[track_caller]
    pub fn counted_when_quiet(&self, pause: Duration, bound: Duration) -> Counted {
        let (mut last, mut since) = (self.counted(), Instant::now());
        wait_for(bound, "the cable is quiet", || {
            let now = self.counted();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            (since.elapsed() >= pause).then_some(last)
        })
    }

    /// Pulls the cable out at the host.
    pub fn cut(&self) {
        let _ = ip(&["link", "set", &self.outside, "down"]).expect_code(0);
    }

    /// Puts it in again.
    pub fn join(&self) {
        let _ = ip(&["link", "set", &self.outside, "up"]).expect_code(0);
        self.introduce();
    }

    fn introduce(&self) {
        let box_address = Ipv4Addr::from(u32::from(self.host) + 1).to_string();
        let neighbour = [box_address.as_str(), "lladdr", &self.inside_hardware, "dev", &self.outside];
        let _ = ip(&[&["neighbour", "replace"][..], &neighbour, &["nud", "permanent"]].concat()).expect_code(0);
    }

    fn statistics(&self) -> std::path::PathBuf {
        Path::new("/sys/class/net").join(&self.outside).join("statistics")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable first: a process left in the namespace would keep it.
        let _ = ip(&["link", "delete", &self.outside]);
        let _ = ip(&["netns", "delete", &self.namespace]);
    }
}

/// `ip netns exec` becomes the program: its process id is the child's.
pub(crate) fn within(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new(system("ip", "iproute2"));
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(arguments: &[&str]) -> Finished {
    run(Command::new(system("ip", "iproute2")).args(arguments))
}
