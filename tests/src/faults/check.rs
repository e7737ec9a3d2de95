//! Whether a history can be true.
