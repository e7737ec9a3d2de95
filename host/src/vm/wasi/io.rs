//! Streams and polling without a runtime: everything is ready at once.
//!
//! The originals wait inside tokio, which panics when a component is called on one of tokio's own
//! threads, even when all it does is print its own panic. Here nothing can be unready: the only
//! streams are the closed input and the output buffers, the only timers are those of
//! [`super::clocks`].

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult,
    bindings::sync::io::{poll, streams},
    subscribe,
};

use super::World;

/// Bytes that one read may give.
const MAX_READ: u64 = 64 << 10;

struct Io;

struct IoOf<'a>(&'a mut ResourceTable);

impl HasData for Io {
    type Data<'a> = IoOf<'a>;
}

pub(super) fn add_to_linker(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    poll::add_to_linker::<World, Io>(linker, |world| IoOf(&mut world.table))?;
    streams::add_to_linker::<World, Io>(linker, |world| IoOf(&mut world.table))
}

impl poll::Host for IoOf<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(wasmtime::format_err!("the component polls an empty list"));
        }
        Ok((0..).take(pollables.len()).collect())
    }
}

impl poll::HostPollable for IoOf<'_> {
    fn ready(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Ok(true)
    }

    fn block(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        // The original does not wait, and it frees what the pollable stands for.
        poll::HostPollable::drop(self.0, pollable)
    }
}

impl streams::Host for IoOf<'_> {
    fn convert_stream_error(
        &mut self,
        error: StreamError,
    ) -> wasmtime::Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.0, error)
    }
}

impl streams::HostOutputStream for IoOf<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        Ok(self.0.get_mut(&stream)?.check_write()? as u64)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.0.get_mut(&stream)?.write(bytes.into())
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        let stream = self.0.get_mut(&stream)?;
        stream.write(bytes.into())?;
        stream.flush()
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.0.get_mut(&stream)?.flush()
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.0.get_mut(&stream)?.flush()
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, _: Resource<DynOutputStream>, _: u64) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        _: Resource<DynOutputStream>,
        _: u64,
    ) -> StreamResult<()> {
        Ok(())
    }

    fn splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_splice(
        &mut self,
        _: Resource<DynOutputStream>,
        _: Resource<DynInputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }
}

impl streams::HostInputStream for IoOf<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, most: u64) -> StreamResult<Vec<u8>> {
        let most = usize::try_from(most.min(MAX_READ)).unwrap_or_default();
        Ok(self.0.get_mut(&stream)?.read(most)?.into())
    }

    fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        most: u64,
    ) -> StreamResult<Vec<u8>> {
        self.read(stream, most)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, most: u64) -> StreamResult<u64> {
        let most = usize::try_from(most.min(MAX_READ)).unwrap_or_default();
        Ok(self.0.get_mut(&stream)?.skip(most)? as u64)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, most: u64) -> StreamResult<u64> {
        self.skip(stream, most)
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynInputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.0, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }
}
