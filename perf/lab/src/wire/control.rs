//! The control socket of a wire: one JSON command per line, one JSON answer per line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pump::Handle;
use super::settings::{Answer, Command};

/// A wire cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No socket there, or nobody listens.
    #[error("no wire answers on {path}: {source}; `dmsc-lab status` lists the links that have one")]
    Silent {
        /// The control socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The answer is not ours.
    #[error("the wire on {path} gave an answer that is not understood: {source}")]
    Strange {
        /// The control socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The wire refused.
    #[error("the wire refused: {0}")]
    Refused(String),
}

/// Answers commands on `path` for the rest of the life of this process, one client at a time.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(path: &Path, handle: Handle) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that says nothing must not keep others out.
                let _ = client.set_read_timeout(Some(Duration::from_secs(2)));
                let _ = serve(&client, &handle);
            }
        })?;
    Ok(())
}

fn serve(mut client: &UnixStream, handle: &Handle) -> std::io::Result<()> {
    for line in BufReader::new(client.try_clone()?).lines() {
        let error = match serde_json::from_str(&line?) {
            Ok(Command::Get) => None,
            Ok(Command::Set { way, reset, change }) => {
                handle.set(way, reset, &change).err().map(|e| e.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        let mut answer = serde_json::to_string(&handle.read(error))?;
        answer.push('\n');
        client.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Sends `command` to the wire on `path`.
///
/// # Errors
/// When nobody answers, or the wire refuses.
pub fn tell(path: &Path, command: &Command) -> Result<Answer, ControlError> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut line = serde_json::to_string(command)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let line = exchange().map_err(|source| ControlError::Silent {
        path: path.to_path_buf(),
        source,
    })?;
    let answer: Answer = serde_json::from_str(&line).map_err(|source| ControlError::Strange {
        path: path.to_path_buf(),
        source,
    })?;
    match answer.error {
        Some(error) => Err(ControlError::Refused(error)),
        None => Ok(answer),
    }
}
