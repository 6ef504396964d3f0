//! A connection whose client takes nothing is not kept: what is written to it must get
//! on its way, if ever so slowly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take nothing of an answer. What it has taken by then is on its
/// way: the system keeps some of it in between.
pub(super) const STALL_MAX: Duration = Duration::from_secs(20);

/// A stream that fails when nothing of what is written can be sent for [`STALL_MAX`].
#[derive(Debug)]
pub(super) struct NoStall<S> {
    stream: S,
    /// Runs while a write waits.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> NoStall<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            limit: None,
        }
    }

    /// Lets a write wait until the limit.
    fn limited<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.limit = None;
            return wrote;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        let over = limit.as_mut().poll(context);
        over.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoStall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoStall<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limited(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.limited(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // A flush that is done says nothing of a write that waits.
        if flushed.is_pending() {
            return self.limited(context, flushed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limited(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    const ROOM: usize = 1024;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (near, far) = duplex(ROOM);
        let mut near = NoStall::new(near);
        let begun = Instant::now();
        let ended = near.write_all(&[0; 2 * ROOM]).await;
        let error = ended.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), STALL_MAX.as_secs());
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_gets_it_all() {
        let (near, mut far) = duplex(ROOM);
        let writing = async {
            let mut near = NoStall::new(near);
            near.write_all(&[0; 20 * ROOM]).await
        };
        let reading = async {
            let mut part = [0; ROOM];
            let mut taken = 0;
            while taken < 20 * ROOM {
                sleep(STALL_MAX * 3 / 4).await;
                taken += far.read(&mut part).await.expect("more");
            }
        };
        let (wrote, ()) = tokio::join!(writing, reading);
        wrote.expect("it took its time");
    }
}
