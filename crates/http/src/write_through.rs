/// Implements the methods of `AsyncWrite` by calling an inner stream. Use it inside the `impl`
/// block: `write_through!(this => this.stream);`. The file must import the types in the signatures.
macro_rules! write_through {
    ($this:ident => $stream:expr) => {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let $this = self.get_mut();
            Pin::new(&mut $stream).poll_write(cx, buf)
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let $this = self.get_mut();
            Pin::new(&mut $stream).poll_write_vectored(cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            let $this = self;
            $stream.is_write_vectored()
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let $this = self.get_mut();
            Pin::new(&mut $stream).poll_flush(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let $this = self.get_mut();
            Pin::new(&mut $stream).poll_shutdown(cx)
        }
    };
}
pub(crate) use write_through;
