//! Writes of a wrapper that go through to what it wraps.

/// [`tokio::io::AsyncWrite`] of a type by one of its fields: type parameters, the type, the field. The type is `Unpin`.
///
/// ```
/// use tokio::io::AsyncWrite;
///
/// struct Counted<S> {
///     stream: S,
///     place: usize,
/// }
/// dmsc_daemon::write_through!([S: AsyncWrite + Unpin] Counted<S>, stream);
/// ```
#[macro_export]
macro_rules! write_through {
    ([$($parameters:tt)*] $wrapper:ty, $field:ident) => {
        impl<$($parameters)*> ::tokio::io::AsyncWrite for $wrapper {
            fn poll_write(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
                bytes: &[u8],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                let stream = ::std::pin::Pin::new(&mut self.$field);
                ::tokio::io::AsyncWrite::poll_write(stream, context, bytes)
            }

            fn poll_flush(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let stream = ::std::pin::Pin::new(&mut self.$field);
                ::tokio::io::AsyncWrite::poll_flush(stream, context)
            }

            fn poll_shutdown(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
            ) -> ::std::task::Poll<::std::io::Result<()>> {
                let stream = ::std::pin::Pin::new(&mut self.$field);
                ::tokio::io::AsyncWrite::poll_shutdown(stream, context)
            }

            fn poll_write_vectored(
                mut self: ::std::pin::Pin<&mut Self>,
                context: &mut ::std::task::Context<'_>,
                slices: &[::std::io::IoSlice<'_>],
            ) -> ::std::task::Poll<::std::io::Result<usize>> {
                let stream = ::std::pin::Pin::new(&mut self.$field);
                ::tokio::io::AsyncWrite::poll_write_vectored(stream, context, slices)
            }

            fn is_write_vectored(&self) -> bool {
                ::tokio::io::AsyncWrite::is_write_vectored(&self.$field)
            }
        }
    };
}
