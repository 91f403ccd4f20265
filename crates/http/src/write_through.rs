/// The methods of [`AsyncWrite`](tokio::io::AsyncWrite) that pass a call on to an inner stream, for
/// use in an `impl` block: `write_through!(this => this.stream; poll_write, poll_flush);`.
///
/// Methods that are not named are written by hand, or are those that the trait provides.
#[macro_export]
macro_rules! write_through {
    ($this:ident => $stream:expr; $($method:ident),+) => {
        $($crate::write_through!(@$method $this => $stream);)+
    };
    (@poll_write $this:ident => $stream:expr) => {
        fn poll_write(
            self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            bytes: &[u8],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            let $this = self.get_mut();
            ::std::pin::Pin::new(&mut $stream).poll_write(cx, bytes)
        }
    };
    (@poll_write_vectored $this:ident => $stream:expr) => {
        fn poll_write_vectored(
            self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            pieces: &[::std::io::IoSlice<'_>],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            let $this = self.get_mut();
            ::std::pin::Pin::new(&mut $stream).poll_write_vectored(cx, pieces)
        }

        fn is_write_vectored(&self) -> bool {
            let $this = self;
            $stream.is_write_vectored()
        }
    };
    (@poll_flush $this:ident => $stream:expr) => {
        fn poll_flush(
            self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            let $this = self.get_mut();
            ::std::pin::Pin::new(&mut $stream).poll_flush(cx)
        }
    };
    (@poll_shutdown $this:ident => $stream:expr) => {
        fn poll_shutdown(
            self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            let $this = self.get_mut();
            ::std::pin::Pin::new(&mut $stream).poll_shutdown(cx)
        }
    };
}
