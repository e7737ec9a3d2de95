//! A counter for each key, as a virtual object of Restate: `counter ADDR:PORT`.

use std::{net::SocketAddr, process::ExitCode};

use restate_sdk::prelude::*;

struct Counter;

#[object]
impl Counter {
    #[handler]
    async fn add(&self, ctx: ObjectContext<'_>, amount: u64) -> Result<u64, TerminalError> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or(0).saturating_add(amount);
        ctx.set("sum", sum);
        Ok(sum)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let at = std::env::args().nth(1).and_then(|at| at.parse::<SocketAddr>().ok());
    let Some(at) = at else {
        eprintln!("expected ADDR:PORT to listen at");
        return ExitCode::from(2);
    };
    HttpServer::new(Endpoint::builder().bind(Counter).build()).listen_and_serve(at).await;
    ExitCode::SUCCESS
}
