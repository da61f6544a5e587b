//! What a configuration's key expects, each under a key of its own: so that a catalogue can say it in any language.

use std::fmt;

/// What would be right where a problem was found. `Display` says it in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    DeviceId,
    /// The one that the box was enrolled as.
    EnrolledId(String),
    TimeZone,
    Language,
    AbsolutePath,
    /// The id of a camera or zone.
    Name,
    OwnName,
    CameraUrl,
    UrlWithoutCredentials,
    BrokerWithoutCredentials,
    Corners,
    Fractions,
    NoCrossing,
    Area,
    /// With what the schedule's reader says, in English.
    Schedule(String),
    ZoneId,
    Broker,
    BothFiles,
    /// The `up_to_gb` of steps.
    Rising,
    InterfaceName,
    EnvironmentKey,
    AtLeast(u64),
    /// Numbers as they are written in the file.
    Between(&'static str, &'static str),
    Seconds(u32, u32),
}

impl Expected {
    /// Never changed: catalogues know it by this name.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::DeviceId => "device-id",
            Self::EnrolledId(_) => "enrolled-id",
            Self::TimeZone => "time-zone",
            Self::Language => "language",
            Self::AbsolutePath => "absolute-path",
            Self::Name => "name",
            Self::OwnName => "own-name",
            Self::CameraUrl => "camera-url",
            Self::UrlWithoutCredentials => "url-without-credentials",
            Self::BrokerWithoutCredentials => "broker-without-credentials",
            Self::Corners => "corners",
            Self::Fractions => "fractions",
            Self::NoCrossing => "no-crossing",
            Self::Area => "area",
            Self::Schedule(_) => "schedule",
            Self::ZoneId => "zone-id",
            Self::Broker => "broker",
            Self::BothFiles => "both-files",
            Self::Rising => "rising",
            Self::InterfaceName => "interface-name",
            Self::EnvironmentKey => "environment-key",
            Self::AtLeast(_) => "at-least",
            Self::Between(..) => "between",
            Self::Seconds(..) => "seconds",
        }
    }

    /// The bounds of a range or what is expected itself, empty where there is none.
    #[must_use]
    pub fn bounds(&self) -> (String, String) {
        match self {
            Self::AtLeast(least) => (least.to_string(), String::new()),
            Self::EnrolledId(id) => (id.clone(), String::new()),
            Self::Between(from, to) => ((*from).to_owned(), (*to).to_owned()),
            Self::Seconds(from, to) => (from.to_string(), to.to_string()),
            _ => Default::default(),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EnrolledId(id) => {
                return write!(f, "{id}, as this box is enrolled; leave it out, or enrol the box anew");
            }
            Self::DeviceId => "3 to 48 of a-z, 0-9 and -, as the certificate's CN",
            Self::TimeZone => "an IANA name such as Asia/Shanghai",
            Self::Language => "zh or en",
            Self::AbsolutePath => "an absolute path",
            Self::Name => "1 to 32 letters, digits, - or _",
            Self::OwnName => "an id that no other camera has",
            Self::CameraUrl => "rtsp://host/path or file:///path/to/video.mp4",
            Self::UrlWithoutCredentials => "a URL without user and password; write them to username and password_file",
            Self::BrokerWithoutCredentials => {
                "a URL without user and password; the box logs in with uplink.certificate_file"
            }
            Self::Corners => "at least 3 corners",
            Self::Fractions => "corners as fractions of the picture, 0..1",
            Self::NoCrossing => "edges that do not cross each other",
            Self::Area => "an area",
            Self::Schedule(why) => {
                return write!(f, "spans such as \"mon-fri 09:00-14:00,16:30-21:30\" ({why})");
            }
            Self::ZoneId => "the id of a [[camera.zone]]",
            Self::Broker => "mqtts://host:port (mqtt:// on loopback only)",
            Self::BothFiles => "certificate_file and key_file together",
            Self::Rising => "an end above that of the step before; only the last step may have none",
            Self::InterfaceName => "the name of a network interface such as wwan0",
            Self::EnvironmentKey => "a key of the configuration, such as KITCHEN_AGENT__UPLINK__BROKER",
            Self::AtLeast(least) => return write!(f, "at least {least}"),
            Self::Between(from, to) => return write!(f, "{from} to {to}"),
            Self::Seconds(from, to) => return write!(f, "{from} to {to} s"),
        })
    }
}
