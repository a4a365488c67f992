//! The device's side of adb, as far as the real `adb` program needs it: connecting, `shell`
//! with exit codes and separate streams, and copying files. Commands run on this machine.
//!
//! The protocol is that of `packages/modules/adb` of the Android Open Source Project:
//! `protocol.txt`, `shell_protocol.h` and `SYNC.TXT`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

const CNXN: u32 = u32::from_le_bytes(*b"CNXN");
const OPEN: u32 = u32::from_le_bytes(*b"OPEN");
const OKAY: u32 = u32::from_le_bytes(*b"OKAY");
const WRTE: u32 = u32::from_le_bytes(*b"WRTE");
const CLSE: u32 = u32::from_le_bytes(*b"CLSE");

/// Version without checksums.
const VERSION: u32 = 0x0100_0001;
const MAX_PAYLOAD: u32 = 1 << 16;

/// A phone on a TCP port; gone once it is dropped.
pub(crate) struct Phone {
    pub(crate) port: u16,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Phone {
    /// Switches a phone on.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                open.lock().expect("no panic").push(stream.try_clone().expect("clones"));
                // The connection ends with the host's or with the phone.
                thread::spawn(move || {
                    let mut streams = HashMap::new();
                    let _ = serve(stream, &mut streams);
                    // Whoever waits for an answer finds out that there is no more host.
                    for Stream { acknowledged, .. } in streams.into_values() {
                        *acknowledged.0.lock().expect("no panic") = true;
                        acknowledged.1.notify_all();
                    }
                });
            }
        });
        Self { port, connections }
    }

    /// Pulls the cable.
    pub(crate) fn unplug(&self) {
        for connection in self.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// The way back to the host, shared by all streams.
type Output = Arc<Mutex<TcpStream>>;

fn send(output: &Output, command: u32, from: u32, to: u32, data: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(24 + data.len());
    for word in [command, from, to, data.len() as u32, 0, !command] {
        message.extend(word.to_le_bytes());
    }
    message.extend(data);
    output.lock().expect("no panic").write_all(&message)
}

/// One stream that the host has opened.
struct Stream {
    incoming: Sender<Vec<u8>>,
    acknowledged: Arc<(Mutex<bool>, Condvar)>,
}

fn serve(mut input: TcpStream, streams: &mut HashMap<u32, Stream>) -> io::Result<()> {
    let output: Output = Arc::new(Mutex::new(input.try_clone()?));
    let mut next = 0;
    loop {
        let mut head = [0; 24];
        input.read_exact(&mut head)?;
        let word = |at: usize| u32::from_le_bytes(head[4 * at..4 * at + 4].try_into().expect("4"));
        let mut data = vec![0; word(3) as usize];
        input.read_exact(&mut data)?;
        match word(0) {
            CNXN => {
                let banner = b"device::ro.product.name=test;ro.product.model=Test_Phone;\
                               ro.product.device=test;features=shell_v2,cmd";
                send(&output, CNXN, VERSION, MAX_PAYLOAD, banner)?;
            }
            OPEN => {
                next += 1;
                let service = String::from_utf8_lossy(&data);
                let service = service.trim_end_matches('\0').to_owned();
                let (incoming, received) = mpsc::channel();
                let acknowledged = Arc::new((Mutex::new(true), Condvar::new()));
                let stream = Pipe {
                    output: Arc::clone(&output),
                    here: next,
                    there: word(1),
                    acknowledged: Arc::clone(&acknowledged),
                };
                streams.insert(next, Stream { incoming, acknowledged });
                send(&output, OKAY, next, word(1), &[])?;
                thread::spawn(move || stream.serve(&service, received));
            }
            WRTE => {
                if let Some(stream) = streams.get(&word(2)) {
                    // A stream whose thread has ended is about to be closed.
                    let _ = stream.incoming.send(data);
                    send(&output, OKAY, word(2), word(1), &[])?;
                }
            }
            OKAY => {
                if let Some(stream) = streams.get(&word(2)) {
                    *stream.acknowledged.0.lock().expect("no panic") = true;
                    stream.acknowledged.1.notify_all();
                }
            }
            CLSE => {
                streams.remove(&word(2));
            }
            _ => return Err(io::Error::other("an unknown message")),
        }
    }
}

/// The device's end of a stream.
#[derive(Clone)]
struct Pipe {
    output: Output,
    here: u32,
    there: u32,
    acknowledged: Arc<(Mutex<bool>, Condvar)>,
}

impl Pipe {
    fn serve(self, service: &str, input: Receiver<Vec<u8>>) {
        if let Some(options) = service.strip_prefix("shell,") {
            let (options, script) = options.split_once(':').unwrap_or((options, ""));
            assert!(options.split(',').any(|option| option == "v2"), "adb asked for {options}");
            let _ = self.shell(script, input);
        } else if service == "sync:" {
            let _ = self.sync(&mut Packets { input, rest: Vec::new() });
        }
        let _ = send(&self.output, CLSE, self.here, self.there, &[]);
    }

    /// Writes to the host, one acknowledged message at a time.
    fn write(&self, data: &[u8]) -> io::Result<()> {
        for part in data.chunks(MAX_PAYLOAD as usize) {
            let (ready, changed) = &*self.acknowledged;
            let ready = ready.lock().expect("no panic");
            *changed.wait_while(ready, |ready| !*ready).expect("no panic") = false;
            send(&self.output, WRTE, self.here, self.there, part)?;
        }
        Ok(())
    }

    /// Shell protocol: packets of an id, a length and data. 0 to 2 are the standard streams,
    /// 3 is the exit status, 4 closes the standard input.
    fn shell(&self, script: &str, input: Receiver<Vec<u8>>) -> io::Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let writing = Arc::new(Mutex::new(()));
        let copy = |id: u8, mut from: Box<dyn Read + Send>| {
            let (pipe, writing) = (self.clone(), Arc::clone(&writing));
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(length @ 1..) = from.read(&mut chunk) {
                    let _one_at_a_time = writing.lock().expect("no panic");
                    if pipe.write(&shell_packet(id, &chunk[..length])).is_err() {
                        return;
                    }
                }
            })
        };
        let stdout = copy(1, Box::new(child.stdout.take().expect("a pipe")));
        let stderr = copy(2, Box::new(child.stderr.take().expect("a pipe")));
        let mut stdin = child.stdin.take();
        thread::spawn(move || {
            let mut packets = Packets { input, rest: Vec::new() };
            // The stream's end, which is also the cable's, ends the standard input.
            while let Some(head) = packets.take(5) {
                let length = u32::from_le_bytes(head[1..].try_into().expect("4"));
                let Some(data) = packets.take(length as usize) else { return };
                match (head[0], &mut stdin) {
                    (0, Some(stdin)) => {
                        let _ = stdin.write_all(&data).and_then(|()| stdin.flush());
                    }
                    (4, _) => stdin = None,
                    _ => {}
                }
            }
        });
        let status = wait(&mut child)?;
        let _ = (stdout.join(), stderr.join());
        self.write(&shell_packet(3, &[status]))
    }

    /// File transfer: requests of a four letter id, a length and a path.
    fn sync(&self, packets: &mut Packets) -> io::Result<()> {
        while let Some(head) = packets.take(8) {
            let length = u32::from_le_bytes(head[4..].try_into().expect("4")) as usize;
            let argument = packets.take(length).unwrap_or_default();
            let argument = String::from_utf8_lossy(&argument).into_owned();
            match &head[..4] {
                b"STAT" => {
                    let (mode, size) = fs::metadata(&argument)
                        .map_or((0, 0), |data| (data.permissions().mode(), data.len() as u32));
                    let words = [mode, size, 0].map(u32::to_le_bytes).concat();
                    self.write(&[&b"STAT"[..], &words].concat())?;
                }
                b"SEND" => {
                    let path = argument.rsplit_once(',').map_or(&*argument, |(path, _)| path);
                    match receive(path, packets) {
                        Ok(()) => self.write(&sync_packet(b"OKAY", &[]))?,
                        Err(error) => {
                            self.write(&sync_packet(b"FAIL", error.to_string().as_bytes()))?;
                        }
                    }
                }
                b"RECV" => match fs::read(&argument) {
                    Ok(bytes) => {
                        for part in bytes.chunks(1 << 15) {
                            self.write(&sync_packet(b"DATA", part))?;
                        }
                        self.write(&sync_packet(b"DONE", &[]))?;
                    }
                    Err(error) => {
                        self.write(&sync_packet(b"FAIL", error.to_string().as_bytes()))?;
                    }
                },
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Takes a file from the host, up to the end even if the file system is full.
fn receive(path: &str, packets: &mut Packets) -> io::Result<()> {
    let mut file = File::create(path);
    let mut written = Ok(());
    while let Some(head) = packets.take(8) {
        if head.starts_with(b"DONE") {
            break;
        }
        let length = u32::from_le_bytes(head[4..].try_into().expect("4"));
        let data = packets.take(length as usize).unwrap_or_default();
        if let (Ok(file), Ok(())) = (&mut file, &written) {
            written = file.write_all(&data);
        }
    }
    file.and(written)
}

fn shell_packet(id: u8, data: &[u8]) -> Vec<u8> {
    [&[id], &(data.len() as u32).to_le_bytes()[..], data].concat()
}

fn sync_packet(id: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&id[..], &(data.len() as u32).to_le_bytes(), data].concat()
}

fn wait(child: &mut Child) -> io::Result<u8> {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait()?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    Ok(code as u8)
}

/// Bytes of a stream, taken as many as are needed.
struct Packets {
    input: Receiver<Vec<u8>>,
    rest: Vec<u8>,
}

impl Packets {
    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.rest.len() < length {
            self.rest.extend(self.input.recv().ok()?);
        }
        let rest = self.rest.split_off(length);
        Some(std::mem::replace(&mut self.rest, rest))
    }
}
