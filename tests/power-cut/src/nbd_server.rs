//! The disk's cable: serves one connection of the Network Block Device protocol, one request after the other.
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, fixed newstyle, simple replies.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use crate::volatile_disk::VolatileDisk;

const MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle, and no zeros after the export's data.
const HANDSHAKE: u16 = 0b11;
const NO_ZEROS: u32 = 0b10;
/// The flags are there; it can flush, and write one request through its cache.
const TRANSMISSION: u16 = 0b1101;
const WRITE_THROUGH: u16 = 1;
const INVALID: u32 = 22;
/// Longer requests are nonsense.
const LONGEST: usize = 32 << 20;

mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
}

mod reply {
    pub const ACKNOWLEDGED: u32 = 1;
    pub const INFO: u32 = 3;
    pub const UNSUPPORTED: u32 = 0x8000_0001;
}

mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
}

/// Serves `disk` until the other end goes away. `written` is called after each write, before it is answered: whoever
/// wrote waits meanwhile. It may end the connection.
pub fn serve(
    mut stream: impl Read + Write,
    disk: &mut VolatileDisk,
    mut written: impl FnMut(&mut VolatileDisk) -> ControlFlow<()>,
) -> io::Result<()> {
    let served = negotiate(&mut stream, disk.bytes() as u64).and_then(|is_wanted| {
        while is_wanted && answer(&mut stream, disk, &mut written)?.is_continue() {}
        Ok(())
    });
    match served {
        // The machine was switched off.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        served => served,
    }
}

/// Whether the client goes on to the requests.
fn negotiate(stream: &mut (impl Read + Write), bytes: u64) -> io::Result<bool> {
    stream.write_all(&[MAGIC.as_slice(), OPTION_MAGIC, &HANDSHAKE.to_be_bytes()].concat())?;
    let client = u32::from_be_bytes(read(stream)?);
    loop {
        let magic: [u8; 8] = read(stream)?;
        if magic != *OPTION_MAGIC {
            return Err(io::Error::other("an option without its magic"));
        }
        let option = u32::from_be_bytes(read(stream)?);
        let length = u32::from_be_bytes(read(stream)?);
        read_long(stream, length as usize)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = (data.len() as u32).to_be_bytes();
            let head =
                [OPTION_REPLY_MAGIC.to_be_bytes().as_slice(), &option.to_be_bytes(), &kind.to_be_bytes()].concat();
            stream.write_all(&[head.as_slice(), &length, data].concat())
        };
        let export = [bytes.to_be_bytes().as_slice(), &TRANSMISSION.to_be_bytes()].concat();
        match option {
            option::EXPORT_NAME => {
                let zeros = if client & NO_ZEROS == 0 { 124 } else { 0 };
                stream.write_all(&[export.as_slice(), &vec![0; zeros]].concat())?;
                return Ok(true);
            }
            option::INFO | option::GO => {
                reply(reply::INFO, &[0_u16.to_be_bytes().as_slice(), &export].concat())?;
                reply(reply::ACKNOWLEDGED, &[])?;
                if option == option::GO {
                    return Ok(true);
                }
            }
            option::ABORT => {
                reply(reply::ACKNOWLEDGED, &[])?;
                return Ok(false);
            }
            _ => reply(reply::UNSUPPORTED, &[])?,
        }
    }
}

fn answer(
    stream: &mut (impl Read + Write),
    disk: &mut VolatileDisk,
    written: &mut impl FnMut(&mut VolatileDisk) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    if u32::from_be_bytes(read(stream)?) != REQUEST_MAGIC {
        return Err(io::Error::other("a request without its magic"));
    }
    let flags = u16::from_be_bytes(read(stream)?);
    let command = u16::from_be_bytes(read(stream)?);
    let cookie: [u8; 8] = read(stream)?;
    let offset = usize::try_from(u64::from_be_bytes(read(stream)?)).unwrap_or(usize::MAX);
    let length = u32::from_be_bytes(read(stream)?) as usize;
    let outcome = match command {
        command::READ if length <= LONGEST => disk.read(offset, length),
        command::WRITE => {
            let bytes = read_long(stream, length)?;
            let outcome = disk.write(offset, &bytes);
            if flags & WRITE_THROUGH != 0 {
                disk.flush_part(offset, length);
            }
            if written(disk).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            outcome.map(|()| Vec::new())
        }
        command::FLUSH => {
            disk.flush();
            Some(Vec::new())
        }
        command::DISCONNECT => return Ok(ControlFlow::Break(())),
        _ => None,
    };
    let error = if outcome.is_some() { 0 } else { INVALID };
    let head = [REPLY_MAGIC.to_be_bytes().as_slice(), &error.to_be_bytes(), &cookie].concat();
    stream.write_all(&[head, outcome.unwrap_or_default()].concat())?;
    Ok(ControlFlow::Continue(()))
}

fn read<const LENGTH: usize>(stream: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_long(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if length > LONGEST {
        return Err(io::Error::other("a request of more than 32 MB"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
