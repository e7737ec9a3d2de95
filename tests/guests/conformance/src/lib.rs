//! What every language's component is held to: values of all types come back as they went in, and
//! what its runtime sees of the world is the same. The other languages are beside `src/`.

pub mod echo;
pub mod probe;
