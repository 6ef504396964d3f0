//! The floor: reads the packets of a binlog dump off a buffered socket and does
//! nothing with them. Speaks just enough of the protocol for an account
//! without a password.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};

/// PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000;

const BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct Bare {
    socket: BufReader<TcpStream>,
}

impl Bare {
    pub(crate) fn dump(port: u16, file: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        let mut bare = Self {
            socket: BufReader::with_capacity(BUFFER_BYTES, stream),
        };
        bare.packet()?;
        let mut login = CAPABILITIES.to_le_bytes().to_vec();
        login.extend((1_u32 << 24).to_le_bytes());
        login.push(45);
        login.extend([0; 23]);
        login.extend(b"root\0\0mysql_native_password\0");
        bare.send(1, &login)?;
        bare.expect_ok()?;
        let session = "SET @mariadb_slave_capability = 4, @master_binlog_checksum = 'CRC32'";
        bare.send(0, &[b"\x03", session.as_bytes()].concat())?;
        bare.expect_ok()?;
        let mut command = vec![0x12];
        command.extend(4_u32.to_le_bytes());
        command.extend(2_u16.to_le_bytes());
        command.extend(99_999_u32.to_le_bytes());
        command.extend(file.as_bytes());
        bare.send(0, &command)?;
        Ok(bare)
    }

    /// Reads this many packets.
    pub(crate) fn read(&mut self, packets: u64) -> anyhow::Result<()> {
        for _packet in 0..packets {
            let mut left = self.header()?;
            while left > 0 {
                let there = self.socket.fill_buf()?.len().min(left);
                ensure!(there > 0, "the server hung up");
                self.socket.consume(there);
                left -= there;
            }
        }
        Ok(())
    }

    fn header(&mut self) -> anyhow::Result<usize> {
        let mut header = [0; 4];
        self.socket.read_exact(&mut header)?;
        let [low, middle, high, _number] = header;
        Ok(usize::try_from(u32::from_le_bytes([low, middle, high, 0]))?)
    }

    fn packet(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; self.header()?];
        self.socket.read_exact(&mut body)?;
        Ok(body)
    }

    fn expect_ok(&mut self) -> anyhow::Result<()> {
        let packet = self.packet()?;
        let first = packet.first().context("an empty packet")?;
        ensure!(*first == 0, "refused: {}", String::from_utf8_lossy(&packet));
        Ok(())
    }

    fn send(&mut self, number: u8, body: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(body.len())?.to_le_bytes();
        let [low, middle, high, _] = length;
        let packet = [&[low, middle, high, number], body].concat();
        Ok(self.socket.get_mut().write_all(&packet)?)
    }
}
