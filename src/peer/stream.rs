//! Frames over QUIC streams, with their limits.
use super::frame::{self, FrameError, HEADER_LEN, Header, Kind};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};

#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the message cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the connection ended: {0}")]
    Read(#[from] ReadExactError),
    #[error("the connection ended: {0}")]
    Write(#[from] WriteError),
    #[error("the connection ended: {0}")]
    Connection(#[from] quinn::ConnectionError),
}

pub(super) async fn write<T: Serialize>(
    stream: &mut SendStream,
    kind: Kind,
    value: &T,
) -> Result<(), StreamError> {
    let bytes = frame::encode(kind, value)?;
    stream.write_all(&bytes).await?;
    Ok(())
}

/// The last frame of a stream.
pub(super) async fn write_last<T: Serialize>(
    stream: &mut SendStream,
    kind: Kind,
    value: &T,
) -> Result<(), StreamError> {
    write(stream, kind, value).await?;
    // An error here says that the stream was finished or reset already: nothing is left to say.
    let _ = stream.finish();
    Ok(())
}

/// Bytes as they are, without copying them into a frame.
pub(super) async fn write_payload(
    stream: &mut SendStream,
    payload: &[u8],
) -> Result<(), StreamError> {
    stream.write_all(&frame::header(Kind::Payload, payload)?).await?;
    stream.write_all(payload).await?;
    Ok(())
}

pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut RecvStream,
    kind: Kind,
) -> Result<T, StreamError> {
    let (header, body) = read_body(stream, kind).await?;
    Ok(frame::decode_body(kind, header, &body)?)
}

pub(super) async fn read_payload(stream: &mut RecvStream) -> Result<Vec<u8>, StreamError> {
    let (header, body) = read_body(stream, Kind::Payload).await?;
    header.check(&body)?;
    Ok(body)
}

async fn read_body(stream: &mut RecvStream, kind: Kind) -> Result<(Header, Vec<u8>), StreamError> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let header = Header::parse(&head)?;
    if header.kind != kind {
        return Err(FrameError::Unexpected { found: header.kind, expected: kind }.into());
    }
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body).await?;
    Ok((header, body))
}
